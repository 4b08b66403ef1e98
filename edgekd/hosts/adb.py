"""A phone reached through the installed program `adb`: argv only, a deadline on everything, no status of adb believed.

`adb shell` ends with status 0 and a shortened output when the phone goes away meanwhile (adb 29 does). So each command
prints a mark of ours, its own status and the sizes of its outputs, and counts as lost when one of these is missing.
What it says goes to files on the phone first, since old versions of adb join both streams and change line ends.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from edgekd.errors import ConnectError, HostError, HostTimeout, LinkLost, ToolError
from edgekd.hosts.board_scripts import STOP
from edgekd.hosts.by_shell import SCRIPT_OUTPUT_BYTES, ByShell, Ended
from edgekd.hosts.output import Tail
from edgekd.hosts.process import run_process
from edgekd.text import printable
from edgekd.units import text_from_s

_CONNECT_S, _STOP_S = 20.0, 12.0
_FRAME_BYTES = 4096
# What adb says of a phone that went away, and of nothing else that can go wrong with a push.
_GONE = (b"offline", b"device '", b"closed", b"protocol fault", b"no devices", b"unauthorized")
_SIGNALLED = range(129, 129 + 64)  # what a shell makes of a command that a signal ended

# Arguments: mark, folder, most bytes of each output, names of their files, then the command.
_RUN = """
mark=$1 most=$3 out=$4 err=$5
cd -- "$2" || exit 1
shift 5
echo "$mark $$"
"$@" </dev/null >"$out" 2>"$err"
status=$?
size() { found=$(($(wc -c < "$1"))); [ "$found" -le "$most" ] || found=$most; echo "$found"; }
o=$(size "$out") e=$(size "$err")
echo "$mark $status $o $e"
tail -c "$o" "$out"
tail -c "$e" "$err"
echo "$mark end"
rm -f -- "$out" "$err"
"""


class AdbHost(ByShell):
    """The phone with this serial number, its files below `workspace`; adb's own server keeps the connection.

    adb proves us to the phone, and the phone to nobody: a serial number is a name, not a key. Uploads are whole or not
    at all and never sent twice, but a broken one begins anew, for adb cannot go on.
    Errors: ToolError without adb, ConnectError when the phone is not there; then as Host says.
    """

    def __init__(self, serial: str, *, python: str = "python3", workspace: str = "/data/local/tmp/edgekd") -> None:
        super().__init__(f"adb:{serial}", python, workspace)
        self._serial = serial
        self._adb = shutil.which("adb") or ""
        if not self._adb:
            raise ToolError(f"{self.name}: the program adb is not installed here. Install it, such as: apt install adb")
        self._require_device()
        self._make_workspace(_CONNECT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing stays open: each operation is a call of adb."""

    def send(self, stream: BinaryIO, part: str, start: int, *, timeout_s: float) -> None:
        """See upload.Carrier.send; adb push knows whole files only, so all of `stream` is sent whatever `start`."""
        del start
        stream.seek(0)
        with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
            whole = Path(folder) / "part"
            with whole.open("wb") as target:
                shutil.copyfileobj(stream, target)
            status, _, err = self._call("push", "--", str(whole), f"{self._folder}/{part}", timeout_s=timeout_s)
        if status != 0 and any(word in err for word in _GONE):
            raise self._link_error(f"sending {part}", err)
        if status != 0:
            said = printable(" ".join(err.decode(errors="backslashreplace").split()), 300) or "nothing"
            raise HostError(f"{self.name}: {part} cannot be written there; adb said: {said}")

    def _ended(self, argv: tuple[str, ...], *, folder: str, timeout_s: float, max_output_bytes: int) -> Ended:
        """A status that says 'ended by a signal' in a shell's way counts as that."""
        nonce = secrets.token_hex(12)
        mark, places = f"edgekd-{nonce}", (f".{nonce}.out", f".{nonce}.err")
        words = ("sh", "-c", _RUN, "sh", mark, folder, str(max_output_bytes), *places, *argv)
        said = Tail(2 * max_output_bytes + _FRAME_BYTES)
        try:
            _, out, err = self._call("exec-out", f"exec {shlex.join(words)}", timeout_s=timeout_s, said=said)
        except HostTimeout:
            self._stop(mark, said.data(), places)
            raise HostTimeout(
                f"{self.name}: {printable(argv[0], 200)} did not end within {text_from_s(timeout_s)} and was stopped"
            ) from None
        return self._unframed(mark, out, err, folder)

    def _unframed(self, mark: str, out: bytes, err: bytes, folder: str) -> Ended:
        """The parts of a whole answer. Errors: LinkLost for one that stops before its end; HostError."""
        start = re.search(rf"(?m)^{mark} (\d+)\n{mark} (\d+) (\d+) (\d+)\n".encode(), out)
        if start is None:
            if re.search(rf"(?m)^{mark} \d+\n".encode(), out):
                raise self._link_error("a command", err)
            said = printable((out + err).decode(errors="backslashreplace").strip(), 300) or "nothing"
            raise LinkLost(f"{self.name}: the phone did not start a command in {folder}, or went away; it said: {said}")
        status, out_size, err_size = (int(word) for word in start.groups()[1:])
        body = out[start.end() :]
        if body[out_size + err_size :] != f"{mark} end\n".encode():
            raise self._link_error("the output of a command", err)
        known = None if status in _SIGNALLED else status
        return Ended(known, body[:out_size], body[out_size : out_size + err_size])

    def _stop(self, mark: str, said: bytes, places: tuple[str, str]) -> None:
        """End the command's whole session; a phone that went away meanwhile changes nothing."""
        number = re.search(rf"(?m)^{mark} (\d+)\n".encode(), said)
        with contextlib.suppress(HostError):
            if number is not None:
                line = shlex.join(("sh", "-c", STOP, "sh", number[1].decode()))
                self._call("exec-out", f"exec {line}", timeout_s=_STOP_S)
            for place in places:
                self._call("exec-out", shlex.join(("rm", "-f", "--", f"{self._folder}/{place}")), timeout_s=_STOP_S)

    def _call(self, *words: str, timeout_s: float, said: Tail | None = None) -> tuple[int, bytes, bytes]:
        """One call of adb: its status and what it said. Errors: HostTimeout, ToolError."""
        out, err = said or Tail(SCRIPT_OUTPUT_BYTES), Tail(_FRAME_BYTES)
        try:
            status = run_process([self._adb, "-s", self._serial, *words], out=out, err=err, timeout_s=timeout_s)
        except TimeoutError:
            raise HostTimeout(f"{self.name}: adb {words[0]} did not end within {text_from_s(timeout_s)}") from None
        except OSError as error:
            raise ToolError(f"{self.name}: {self._adb} cannot be started ({error.strerror or error})") from None
        return status, out.data(), err.data()

    def _link_error(self, what: str, err: bytes) -> LinkLost:
        said = printable(err.decode(errors="backslashreplace").strip(), 300) or "nothing"
        return LinkLost(f"{self.name}: {what} was cut off; did the phone go away? adb said: {said}")

    def _require_device(self) -> None:
        status, out, err = self._call("get-state", timeout_s=_CONNECT_S)
        if status == 0 and out.strip() == b"device":
            return
        said = printable((err or out).decode(errors="backslashreplace").strip(), 300)
        mend = "See which phones adb knows: adb devices"
        if "unauthorized" in said:
            mend = "Allow this computer on the screen of the phone"
        raise ConnectError(f"{self.name}: adb does not reach this phone ({said}). {mend}")
