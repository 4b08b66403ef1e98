"""What tools and files of boards say, as values. Every function here takes a text, and knows no other world.

A text that does not say it, or says it in another way, gives None or an empty table: unknown, never a guess. Formats
are those of the tools' documentation and of recorded answers; sizes are bounded, for a text may be anything.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional

MOST_LINES, MOST_PROCESSORS, MOST_WORD = 20000, 1024, 200
_HEX = re.compile(r"throttled=(0x[0-9a-fA-F]{1,8})\s*")
_POWER_MODE = re.compile(r"^NV Power Mode:[ \t]*([A-Za-z0-9_+.-]{1,40})[ \t]*$", re.MULTILINE)
_THERMAL = re.compile(r"^[ \t]*Thermal Status:[ \t]*([0-9])[ \t]*$", re.MULTILINE)
_PROPERTY = re.compile(r"^\[([A-Za-z0-9_.-]{1,100})\]: \[(.{0,200})\]$")
_RELEASE = re.compile(r"# R(\d{1,3}) \(release\), REVISION: (\d{1,3}(?:\.\d{1,3})*)")
_TENSORRT = re.compile(r"TensorRT[ .]v(\d{4,6})")
_MEMORY = re.compile(r"^(\w{1,40}):[ \t]+(\d{1,15}) kB$")
_SMALL = re.compile(r"[0-9]{1,4}")
_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")
# Source: Linux, arch/arm64/include/asm/cputype.h; only what the profiles name.
ARM_CORES = {
    "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55", "0xd07": "Cortex-A57", "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76", "0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd42": "Cortex-A78AE", "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510", "0xd47": "Cortex-A710", "0xd48": "Cortex-X2", "0xd49": "Neoverse-N2",
    "0xd4d": "Cortex-A715", "0xd4e": "Cortex-X3", "0xd80": "Cortex-A520", "0xd81": "Cortex-A720", "0xd82": "Cortex-X4",
    "0xd83": "Neoverse-V3AE",
}  # fmt: skip
# The kernel's words for the features that edgekd's profiles know.
# Source: Linux, Documentation/arch/arm64/elf_hwcaps.rst and arch/x86/include/asm/cpufeatures.h.
FEATURES = {
    "asimd": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16", "sve": "sve",
    "sve2": "sve2", "avx2": "avx2", "fma": "fma", "avx512f": "avx512f", "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16", "avx_vnni": "avx_vnni", "amx_int8": "amx_int8",
}  # fmt: skip


def throttled_word(text: str) -> Optional[str]:
    """'0x50005' of `vcgencmd get_throttled`. Source: Raspberry Pi documentation, graphics-utilities."""
    found = _HEX.fullmatch(text.strip("\0 \r\n\t"))
    return found.group(1) if found else None


def power_mode(text: str) -> Optional[str]:
    """'15W' of `nvpmodel -q`."""
    found = _POWER_MODE.search(text.replace("\r", ""))
    return found.group(1) if found else None


def thermal_status(text: str) -> Optional[int]:
    """The status of `dumpsys thermalservice`: 0 is none, 1 light, … 6 shutdown. Source: Android, PowerManager."""
    found = _THERMAL.search(text.replace("\r", ""))
    status = int(found.group(1)) if found else 7
    return status if status <= 6 else None


def properties(text: str) -> Dict[str, str]:
    """What `getprop` lists, '[ro.product.model]: [Pixel 8]' line by line."""
    found = {}  # type: Dict[str, str]
    for line in text.splitlines()[:MOST_LINES]:
        match = _PROPERTY.fullmatch(line.strip("\r"))
        if match:
            found[match.group(1)] = match.group(2)
    return found


def l4t_release(text: str) -> Optional[str]:
    """'36.3.0' of the first line of /etc/nv_tegra_release."""
    found = _RELEASE.search(text)
    return "%s.%s" % found.groups() if found else None


def tensorrt_version(text: str) -> Optional[str]:
    """'10.3.0' of the first lines of trtexec, which says v100300; '8.6.1' of v8601."""
    found = _TENSORRT.search(text)
    if not found:
        return None
    number = int(found.group(1))
    parts = (number // 10000, number // 100 % 100, number % 100) if number >= 100000 else None
    return "%d.%d.%d" % (parts or (number // 1000, number // 100 % 10, number % 100))


def memory_table(text: str) -> Dict[str, int]:
    """Bytes by name of /proc/meminfo."""
    matches = [_MEMORY.fullmatch(line.rstrip()) for line in text.splitlines()[:MOST_LINES]]
    return {match.group(1): 1024 * int(match.group(2)) for match in matches if match}


def processors(text: str) -> List[Dict[str, str]]:
    """/proc/cpuinfo: one table of lower-case keys for each processor, in the order of their numbers in the file."""
    found = []  # type: List[Dict[str, str]]
    for line in text.splitlines()[:MOST_LINES]:
        key, colon, value = line.partition(":")
        name = key.strip().lower()[:MOST_WORD]
        if colon and name == "processor" and _SMALL.fullmatch(value.strip()):
            if len(found) == MOST_PROCESSORS:
                break
            found.append({})
        if not line.strip() and found:
            found[-1].setdefault("", "")  # the paragraph is over; what follows may belong to the whole board
        if colon and found and "" not in found[-1]:
            found[-1][name] = value.strip()
    for table in found:
        table.pop("", None)
    return found


def core_name(table: Dict[str, str]) -> Optional[str]:
    """'Cortex-A76' for a table of `processors`; what the text calls its model where it is no Arm core we know."""
    if table.get("cpu implementer") == "0x41":
        return ARM_CORES.get(table.get("cpu part", "").lower())
    named = table.get("model name")
    return named[:MOST_WORD] if named else None


def features(table: Dict[str, str]) -> List[str]:
    """The features of that processor by the names that profiles use, sorted."""
    words = set((table.get("features") or table.get("flags") or "").lower().split())
    return sorted(FEATURES[word] for word in words if word in FEATURES)


def number_list(text: str) -> Optional[List[int]]:
    """[0, 1, 2, 3, 5] of '0-3,5', as the kernel lists processors."""
    found = []  # type: List[int]
    for part in text.strip().split(","):
        match = _RANGE.fullmatch(part.strip())
        if not match:
            return None
        first, last = int(match.group(1)), int(match.group(2) or match.group(1))
        if last - first >= MOST_PROCESSORS or len(found) > MOST_PROCESSORS:
            return None
        found.extend(range(first, last + 1))
    return found
