"""Stands for the program adb in tests: it runs what is asked for on this machine, in a session of its own as adbd does.

Like adb 29 it ends with status 0 whatever the command did. STAND_IN_ADB holds a folder: `calls` there keeps each call,
`cut` says after how many bytes of output the phone goes away, `gone` that it is not there, `slow` that push never ends,
`refuses` what a push is refused with.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

STATE = Path(os.environ["STAND_IN_ADB"])
SERIAL = "PHONE1"


def say(text: str, stream: TextIO = sys.stderr) -> None:
    stream.write(f"{text}\n")


def main(argv: list[str]) -> int:
    with (STATE / "calls").open("a") as calls:
        calls.write(json.dumps(argv) + "\n")
    if argv[:1] != ["-s"] or argv[1:2] != [SERIAL] or (STATE / "gone").exists():
        say(f"error: device '{argv[1]}' not found")
        return 1
    verb, rest = argv[2], argv[3:]
    if verb == "get-state":
        say((STATE / "state").read_text() if (STATE / "state").exists() else "device", sys.stdout)
        return 0
    if verb == "push":
        return push(*rest)
    if verb == "exec-out":
        return run(*rest)
    say(f"adb: unknown command {verb}")
    return 1


def push(dashes: str, local: str, remote: str) -> int:
    assert dashes == "--"
    if (STATE / "slow").exists():
        time.sleep(60)
    if (STATE / "refuses").exists():
        say((STATE / "refuses").read_text())
        return 1
    cut = STATE / "cut"
    if cut.exists():
        with Path(local).open("rb") as source, Path(remote).open("wb") as target:
            target.write(source.read(int(cut.read_text())))
        say("adb: error: failed to copy: device offline")
        return 1
    shutil.copyfile(local, remote)
    return 0


def run(line: str) -> int:
    phone = subprocess.Popen(
        ["sh", "-c", line],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    cut = STATE / "cut"
    left = int(cut.read_text()) if cut.exists() else 1 << 62
    while left > 0 and (data := os.read(phone.stdout.fileno(), min(65536, left))):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        left -= len(data)
    if left > 0:
        phone.wait()
    return 0


sys.exit(main(sys.argv[1:]))
