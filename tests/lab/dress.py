"""What emulated boards show of themselves: /proc/cpuinfo, /proc/meminfo, the part of /sys that tools read, and tools.

A dress is a folder with cpuinfo, meminfo, sys/ and bin/. Its sys/ is bound into the running board as it stands, so a
test that writes a temperature there warms the board at once.

Formats: the kernel's sysfs-class-thermal, cpufreq and hwmon ABI documents; the clocks, zones and rails are those that
owners of such boards publish. None was compared with a board of ours.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parent / "tools"
_DOTPROD = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Core:
    """A kind of processor core as /proc/cpuinfo tells it; `part` is Arm's number."""

    part: str
    variant: str
    revision: int
    features: str
    bogomips: str


CORTEX_A55 = Core("0xd05", "0x2", 0, _DOTPROD, "49.15")
CORTEX_A76 = Core("0xd0b", "0x4", 1, _DOTPROD, "108.00")
CORTEX_A78 = Core("0xd42", "0x0", 1, _DOTPROD + " uscat ilrcpc flagm paca pacg", "62.50")


@dataclass(frozen=True)
class Cluster:
    """Cores that share a clock of `low_khz` to `high_khz`."""

    core: Core
    cores: int
    low_khz: int
    high_khz: int


def raspberry_pi_5(folder: Path) -> None:
    """A Raspberry Pi 5 with 8 GB: one cluster of four Cortex-A76, vcgencmd with its power chip."""
    model = "Raspberry Pi 5 Model B Rev 1.0"
    tail = f"Revision\t: d04170\nSerial\t\t: 10000000deadbeef\nModel\t\t: {model}\n"
    clusters = (Cluster(CORTEX_A76, 4, 1_500_000, 2_400_000),)
    _processor(folder, clusters, "cpufreq-dt", tail)
    _memory(folder, total_kb=8_254_000)
    _device_tree(folder, model, ("raspberrypi,5-model-b", "brcm,bcm2712"))
    _zones(folder, {"cpu-thermal": 48_312})
    _hwmon(folder, 0, {"name": "cpu_thermal", "temp1_input": 48_312, "temp1_crit": 110_000})
    _hwmon(folder, 1, {"name": "rpi_volt", "in0_lcrit_alarm": 0})
    _write(folder / "sys/devices/platform/soc/soc:firmware/get_throttled", 0)  # hexadecimal, without 0x
    _tools(folder, "raspberry-pi-5")


def jetson_orin_nano(folder: Path) -> None:
    """A Jetson Orin Nano developer kit with 8 GB: six Cortex-A78AE, an INA3221 on three rails, nvpmodel, tegrastats."""
    clusters = tuple(Cluster(CORTEX_A78, cores, 115_200, 1_510_400) for cores in (4, 2))
    _processor(folder, clusters, "tegra194-cpufreq", "")
    _memory(folder, total_kb=7_802_900)
    _device_tree(
        folder, "NVIDIA Jetson Orin Nano Developer Kit",
        ("nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"),
    )  # fmt: skip
    names = ("cpu", "gpu", "cv0", "cv1", "cv2", "soc0", "soc1", "soc2", "tj")
    _zones(folder, {f"{name}-thermal": 46_500 + 100 * index for index, name in enumerate(names)})
    rails = {"VDD_IN": (5072, 896), "VDD_CPU_GPU_CV": (5080, 104), "VDD_SOC": (5072, 288)}
    values: dict[str, object] = {"name": "ina3221"}
    for number, (rail, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        values |= {f"in{number}_label": rail, f"in{number}_input": millivolts, f"in{number}_enable": 1}
        values |= {f"curr{number}_input": milliamperes, f"curr{number}_crit": 5000}
    _hwmon(folder, 1, values)
    chip = folder / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon"
    chip.mkdir(parents=True)
    (chip / "hwmon1").symlink_to("../../../../../../class/hwmon/hwmon1")
    _write(folder / "sys/devices/platform/gpu.0/load", 0)
    _write(folder / "sys/class/devfreq/17000000.gpu/cur_freq", 305_000_000)
    _write(folder / "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, BOARD: generic, EABI: aarch64")
    _tools(folder, "jetson-orin-nano")


def pixel_6(folder: Path) -> None:
    """A phone of three clusters with a battery, as an app in Termux sees it: no zone names its processor plainly."""
    clusters = (
        Cluster(CORTEX_A55, 4, 300_000, 1_803_000),
        Cluster(CORTEX_A76, 2, 400_000, 2_253_000),
        Cluster(CORTEX_A78, 2, 500_000, 2_802_000),
    )
    _processor(folder, clusters, "exynos-cpufreq", "Hardware\t: GS101\n")
    _memory(folder, total_kb=7_739_256)
    _zones(folder, {"BIG": 38_000, "MID": 38_500, "LITTLE": 39_000, "battery": 31_200})
    battery = {"capacity": 77, "temp": 312, "current_now": -412_000, "voltage_now": 3_985_000, "status": "Discharging"}
    for name, value in battery.items():
        _write(folder / "sys/class/power_supply/battery" / name, value)
    _tools(folder, "pixel-6")


DRESSES: Mapping[str, Callable[[Path], None]] = {
    "raspberry-pi-5": raspberry_pi_5,
    "jetson-orin-nano": jetson_orin_nano,
    "pixel-6": pixel_6,
}


def write_dress(name: str, folder: Path) -> None:
    """`folder`, made anew, as the dress `name`, one of DRESSES."""
    shutil.rmtree(folder, ignore_errors=True)
    DRESSES[name](folder)


def _write(path: Path, value: object, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value if isinstance(value, bytes) else f"{value}\n".encode())
    path.chmod(mode)


def _processor(folder: Path, clusters: Sequence[Cluster], driver: str, tail: str) -> None:
    cores = [cluster for cluster in clusters for _ in range(cluster.cores)]
    _write(
        folder / "cpuinfo",
        ("\n".join(_core_text(number, one.core) for number, one in enumerate(cores)) + "\n" + tail).encode(),
    )
    place = folder / "sys/devices/system/cpu"
    for name in ("possible", "present", "online"):
        _write(place / name, f"0-{len(cores) - 1}")
    fastest, first = max(one.high_khz for one in clusters), 0
    for number, cluster in enumerate(clusters):
        numbers = range(first, first + cluster.cores)
        _policy(place / "cpufreq" / f"policy{first}", cluster, numbers, driver)
        for core in numbers:
            own = place / f"cpu{core}"
            for name, value in (
                ("online", 1),
                ("cpu_capacity", 1024 * cluster.high_khz // fastest),
                ("topology/core_id", core),
                ("topology/physical_package_id", 0),
                ("topology/cluster_id", number),
            ):
                _write(own / name, value)
            (own / "cpufreq").symlink_to(f"../cpufreq/policy{first}")
        first += cluster.cores


def _core_text(number: int, core: Core) -> str:
    lines = {
        "processor": number,
        "BogoMIPS": core.bogomips,
        "Features": core.features,
        "CPU implementer": "0x41",
        "CPU architecture": 8,
        "CPU variant": core.variant,
        "CPU part": core.part,
        "CPU revision": core.revision,
    }
    return "".join(f"{name}\t: {value}\n" for name, value in lines.items())


def _policy(place: Path, cluster: Cluster, cores: Sequence[int], driver: str) -> None:
    numbers = " ".join(map(str, cores))
    for name, value in {
        "scaling_driver": driver,
        "scaling_governor": "ondemand",
        "scaling_available_governors": "conservative ondemand userspace powersave performance schedutil",
        "scaling_min_freq": cluster.low_khz,
        "scaling_max_freq": cluster.high_khz,
        "scaling_cur_freq": cluster.high_khz,
        "cpuinfo_min_freq": cluster.low_khz,
        "cpuinfo_max_freq": cluster.high_khz,
        "affected_cpus": numbers,
        "related_cpus": numbers,
    }.items():
        _write(place / name, value)
    _write(place / "cpuinfo_cur_freq", cluster.high_khz, 0o400)  # root's alone, as on a real board


def _memory(folder: Path, *, total_kb: int) -> None:
    free_kb = total_kb * 4 // 5
    table = {"MemTotal": total_kb, "MemFree": free_kb // 2, "MemAvailable": free_kb, "Buffers": 20_000}
    table |= {"Cached": free_kb // 3, "SwapTotal": 102_396, "SwapFree": 102_396}
    _write(folder / "meminfo", "".join(f"{name + ':':<16}{value:>8} kB\n" for name, value in table.items()).encode())


def _device_tree(folder: Path, model: str, compatible: Sequence[str]) -> None:
    """Texts there end in NUL. /proc/device-tree is a link to this place; nothing can be added to the real /proc."""
    base = folder / "sys/firmware/devicetree/base"
    _write(base / "model", model.encode() + b"\0")
    _write(base / "compatible", b"".join(word.encode() + b"\0" for word in compatible))
    _write(base / "serial-number", b"10000000deadbeef\0")


def _zones(folder: Path, millidegrees: Mapping[str, int]) -> None:
    for number, (kind, value) in enumerate(millidegrees.items()):
        zone = folder / f"sys/devices/virtual/thermal/thermal_zone{number}"
        for name, text in {"type": kind, "temp": value, "mode": "enabled", "policy": "step_wise"}.items():
            _write(zone / name, text)
        for trip, (limit, action) in enumerate(((80_000, "passive"), (110_000, "critical"))):
            _write(zone / f"trip_point_{trip}_temp", limit)
            _write(zone / f"trip_point_{trip}_type", action)
        link = folder / f"sys/class/thermal/thermal_zone{number}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../devices/virtual/thermal/thermal_zone{number}")


def _hwmon(folder: Path, number: int, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        _write(folder / f"sys/class/hwmon/hwmon{number}" / name, value)


def _tools(folder: Path, name: str) -> None:
    shutil.copytree(TOOLS / name, folder / "bin")
    for tool in (folder / "bin").iterdir():
        os.chmod(tool, 0o755)  # noqa: PTH101  as the rest of the dress, whatever the checkout's modes are
