"""The verbs of `edgekd devices`: one verb, one library call, printed. How each ends is for edgekd.cli."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Option, Argument = typer.Option, typer.Argument


def list_command() -> int:
    """List the devices that have a profile."""
    from edgekd.report.terminal import device_table

    for line in device_table():
        print(line)
    return 0


def show_command(name: Annotated[str, Argument(help="A name from edgekd devices list, or a file.")]) -> int:
    """Show a profile: every number with its source."""
    from edgekd.report.terminal import device_lines

    for line in device_lines(name):
        print(line)
    return 0


def trust_command(
    url: Annotated[str, Argument(metavar="ssh://HOST:PORT")],
    fingerprint: Annotated[str, Option(help="The host key's fingerprint, SHA256:..., read on the board itself.")],
    known_hosts: Annotated[Path | None, Option(help="Another file of trusted host keys.")] = None,
) -> int:
    """Trust a board's host key: the only way it enters edgekd's own known-hosts file."""
    from edgekd.hosts.trust import trust

    key = trust(url, fingerprint, known_hosts)
    print(f"trusted: {key.kind} {key.fingerprint}")
    return 0


def calibrate_command(
    host: Annotated[str, Argument(metavar="HOST", help="local, or ssh://USER@HOST:PORT.")],
    device: Annotated[
        str, Option(help="The profile of that kind of board: a name from edgekd devices list, or a file.")
    ],
    like: Annotated[
        str,
        Option(help="Whose students: a recipe, or one of bert, roberta, vit, gpt2, llama, mobilenet_v2, efficientnet."),
    ] = "bert",
    phase: Annotated[
        str, Option(help="Of gpt2 or llama as a language model: prefill or decode. Else whole, a classifier.")
    ] = "whole",
    budget: Annotated[str, Option(help="Most time for measuring.")] = "3 min",
    students: Annotated[int, Option(help="Untrained students to measure in each precision.")] = 20,
    precision: Annotated[
        list[str] | None,
        Option(help="fp32, fp16, int8, int4, fp32-fused or int8-fused; fp32 and int8 by default. May be repeated."),
    ] = None,
    sequence: Annotated[
        list[int] | None, Option(min=1, help="A length of texts; of decode, tokens in the cache. May be repeated.")
    ] = None,
    batch: Annotated[int, Option(min=1, help="Inputs at once.")] = 1,
    threads: Annotated[int, Option(min=1, help="Threads of the runtime.")] = 1,
    key: Annotated[str | None, Option(help="The private key file for ssh.")] = None,
    known_hosts: Annotated[str | None, Option(help="Another file of trusted host keys.")] = None,
    python: Annotated[str | None, Option(help="The Python interpreter on the host.")] = None,
    out: Annotated[Path, Option("--out", help="The folder for profile, calibration and records.")] = Path("calibrated"),
) -> int:
    """Measure untrained students on a board, fit what a latency is made of there, and store both beside its profile."""
    from rich.console import Console

    from edgekd.display import LiveProgress
    from edgekd.pipeline.calibrate import calibrate, outcome_lines, request_from_text

    request = request_from_text(
        host, device, like, out, precisions=precision, sequences=sequence, batch=batch, threads=threads,
        students=students, budget=budget, key=key, known_hosts=known_hosts, python=python, phase=phase,
    )  # fmt: skip
    with LiveProgress(Console(stderr=True)) as progress:
        outcome = calibrate(request, base=Path.cwd(), progress=progress)
    for line in outcome_lines(outcome):
        print(line)
    return 0


Host = Annotated[str, Argument(metavar="HOST", help="local, or ssh://USER@HOST:PORT.")]
Key = Annotated[str | None, Option(help="The private key file for ssh.")]
KnownHosts = Annotated[str | None, Option(help="Another file of trusted host keys.")]
PythonThere = Annotated[str | None, Option("--python", help="The Python interpreter on the host.")]


def probe_command(
    host: Host,
    device: Annotated[
        str | None, Option(help="Compare with this profile: a name from edgekd devices list, or a file.")
    ] = None,
    out: Annotated[Path | None, Option(help="Write a drafted profile, a YAML file, here.")] = None,
    key: Key = None,
    known_hosts: KnownHosts = None,
    python: PythonThere = None,
) -> int:
    """Ask a board what it is, compare it with a profile, and draft one; nothing is changed there."""
    from edgekd.pipeline.examine import probe

    for line in probe(host, device, out, key=key, known_hosts=known_hosts, python=python):
        print(line)
    return 0


def doctor_command(host: Host, key: Key = None, known_hosts: KnownHosts = None, python: PythonThere = None) -> int:
    """Find what keeps a board from measuring, and the command that mends each: exit 0, or 4 when something is missing."""
    from edgekd.pipeline.examine import doctor
    from edgekd.probe.doctor import lines

    diagnosis = doctor(host, key=key, known_hosts=known_hosts, python=python)
    for line in lines(diagnosis):
        print(line)
    return diagnosis.exit_code


def provision_command(
    host: Host,
    wheels: Annotated[Path, Option(help="A folder of wheels, with its lock file.")],
    lock: Annotated[
        bool, Option("--lock", help="Write the lock file of the folder first: these wheels are meant.")
    ] = False,
    key: Key = None,
    known_hosts: KnownHosts = None,
    python: PythonThere = None,
) -> int:
    """Install the wheels that fit on a board that needs no network for it, into a Python of their own."""
    from edgekd.pipeline.examine import provision

    def told(line: str) -> None:
        print(line, flush=True)

    provision(host, wheels, told, lock=lock, key=key, known_hosts=known_hosts, python=python)
    return 0


DEVICE_VERBS: dict[str, Callable[..., Any]] = {
    "list": list_command,
    "show": show_command,
    "trust": trust_command,
    "probe": probe_command,
    "doctor": doctor_command,
    "provision": provision_command,
    "calibrate": calibrate_command,
}
