"""What we ask a board's shell to do with files, in words that every POSIX sh knows, found by PATH.

Termux has neither /tmp nor /usr/bin/env, a small Linux only busybox, an Android phone only toybox: so nothing here
names the place of a program, and whatever POSIX does not promise may be missing. Only a program for SHA-256 must be
there. Each script runs in the workspace as `sh -c SCRIPT sh ARGUMENT…`, with arguments that were checked or made by us.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekd.text import printable

BLOCK_BYTES = 256 * 1024
READ_BLOCK_BYTES = 32 * 1024
NO_HASHER, IS_FOLDER, DIFFERS, IS_NO_FILE, IS_MISSING = 69, 71, 72, 73, 74

# Of a large file by openssl, where it works: it uses the processor's own instructions, while the sha256sum of coreutils
# is often built without them and several times slower. Of a small one by what starts sooner.
LARGE_BYTES = 4 << 20
_HASH = f"""
digest() {{
  if [ "$1" -gt {LARGE_BYTES} ] && openssl version >/dev/null 2>&1; then openssl dgst -sha256 -r
  elif command -v sha256sum >/dev/null 2>&1; then sha256sum
  elif command -v shasum >/dev/null 2>&1; then shasum -a 256
  elif command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r
  else exit {NO_HASHER}; fi
}}
"""

# Arguments: place, part, bytes of the whole. What is there of both, and how much room is left.
LOOK = f"""
umask 077
case $1 in */*) mkdir -p -- "${{1%/*}}" || exit 1;; esac
[ ! -d "$1" ] || exit {IS_FOLDER}
{_HASH}
if [ -f "$1" ] && [ "$(($(wc -c < "$1")))" -eq "$3" ]; then
  found=$(digest "$3" < "$1") || exit
  echo "there $found"
fi
if [ -f "$2" ]; then
  blocks=$(($(wc -c < "$2") / {BLOCK_BYTES}))
  found=$(dd if="$2" bs={BLOCK_BYTES} count=$blocks 2>/dev/null | digest $((blocks * {BLOCK_BYTES}))) || exit
  echo "part $blocks $found"
fi
echo bytes; df -Pk . 2>/dev/null
echo inodes; df -Pi . 2>/dev/null
exit 0
"""

# Arguments: place, part, digest. The part becomes the file when it is whole; another upload may have been quicker.
SETTLE = f"""
{_HASH}
[ ! -d "$1" ] || exit {IS_FOLDER}
[ -f "$2" ] || {{ [ -f "$1" ] && set -- "$1" "$1" "$3"; }} || exit {IS_MISSING}
sync "$2" >/dev/null 2>&1 &
found=$(digest "$(($(wc -c < "$2")))" < "$2") || exit
[ "${{found%% *}}" = "$3" ] || {{ echo "$found"; exit {DIFFERS}; }}
wait
[ "$1" = "$2" ] || mv -f -- "$2" "$1"
"""

# Argument: part, the bytes of it to keep in blocks. What follows on the input is added behind them. The shell opens the
# part first, to say why it cannot: what dd says would end in its numbers, and is not heard.
APPEND = f"""
umask 077
: >> "$1" || exit
dd if=/dev/null of="$1" bs={BLOCK_BYTES} seek="$2" 2>/dev/null && cat >> "$1"
"""

# Arguments: place, most blocks.
READ = f"""
[ -e "$1" ] || exit {IS_MISSING}
[ -f "$1" ] || exit {IS_NO_FILE}
exec dd if="$1" bs={READ_BLOCK_BYTES} count="$2" 2>/dev/null
"""

REMOVE = 'exec rm -rf -- "$1"'
MAKE_FOLDER = 'umask 077; exec mkdir -p -- "$1"'

# Argument: the number of a command. sshd and adbd make each command the leader of a session, so everything it started
# carries its number as the session's; only where that is not so is the process alone ended. /proc/PID/stat reads
# 'pid (name) state parent group session …'.
STOP = """
leader=$1
members() {
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null < "$stat" || continue
    set -- ${line##*) }
    [ "$4" = "$leader" ] && [ "$1" != Z ] || continue
    pid=${stat#/proc/}; echo "${pid%/stat}"
  done
}
for signal in TERM KILL; do
  found=$(members)
  kill -s "$signal" $leader $found 2>/dev/null
  for pause in 1 2 3 4 5; do
    [ -z "$(members)" ] && ! kill -0 "$leader" 2>/dev/null && exit 0
    sleep 0.2 2>/dev/null || sleep 1
  done
done
exit 1
"""

_ROOM = re.compile(r"\s(\d+)\s+(\d+)\s+(-?\d+)\s+(?:\d+%|-)\s+/")


@dataclass(frozen=True, slots=True)
class Found:
    """What LOOK found: the digest of the file in its place, blocks and their digest of a part, room left (or None)."""

    there: str | None
    blocks: int
    begun: str | None
    free_bytes: int | None
    free_inodes: int | None


def found_from_text(text: str) -> Found:
    """The answer of LOOK; whatever a board says beyond the form counts as unknown."""
    there = re.search(r"(?m)^there ([0-9a-f]{64})\b", text)
    part = re.search(r"(?m)^part (\d{1,12}) ([0-9a-f]{64})\b", text)
    body, _, inodes = text.partition("\ninodes\n")
    bytes_row, inode_row = _ROOM.search(body.partition("bytes\n")[2]), _ROOM.search(inodes)
    return Found(
        there=there[1] if there else None,
        blocks=int(part[1]) if part else 0,
        begun=part[2] if part else None,
        free_bytes=max(0, int(bytes_row[3])) * 1024 if bytes_row else None,
        # Filesystems that make inodes as needed say that there are none at all.
        free_inodes=int(inode_row[3]) if inode_row and int(inode_row[1]) > 0 else None,
    )


def first_word(text: str) -> str:
    """The digest that a hasher printed before the name of its input."""
    return printable(text.split(" ", maxsplit=1)[0].strip(), 64)
