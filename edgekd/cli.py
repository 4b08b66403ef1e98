"""The command line: one verb, one library call. Only it and cli_devices print, and it alone exits."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from edgekd import __version__
from edgekd import options as opt
from edgekd.cli_devices import DEVICE_VERBS
from edgekd.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_PASS, EdgekdError
from edgekd.files import write_error
from edgekd.text import printable

_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
Option, Argument = typer.Option, typer.Argument

# Plain help: rich's help alone would take a third of the 0.3 s that a light command may start in.
app = typer.Typer(
    name="edgekd",
    help="Which student network fits this device and this deadline, and does it really?",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
devices = typer.Typer(help="What edgekd knows of devices, and which boards it trusts.", no_args_is_help=True, rich_markup_mode=None)  # fmt: skip
app.add_typer(devices, name="devices")


def guarded(command: Callable[..., int | None]) -> Callable[..., None]:
    """`command` with every end turned into an exit code, and every error of ours into one readable line."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
            if sys.stdout is not None:  # it is None where the program was started with it closed
                sys.stdout.flush()
        except EdgekdError as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            fail(str(error) or "interrupted; the same command goes on where this one stopped", EXIT_INTERRUPTED)
        except BrokenPipeError:
            _drop_output()  # the reader went away, as head does
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except OSError as error:
            _fail_storage(error)
        except Exception:  # noqa: BLE001  the last net
            _fail_bug()
        raise typer.Exit(code or 0)

    return run


def fail(message: str, code: int) -> NoReturn:
    """Print `message` as one line on the error stream, and exit with `code`."""
    line = " ".join(printable(message).split("\n"))
    print(f"edgekd: {line}", file=sys.stderr)
    raise typer.Exit(code)


def _drop_output() -> None:
    """What is still unwritten goes nowhere, so that it does not fail once more when Python ends."""
    with contextlib.suppress(io.UnsupportedOperation, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail_storage(error: OSError) -> NoReturn:
    """A library could not write or read: the user's disk or folder, unless the error names neither."""
    _drop_output()
    named = isinstance(error.filename, str | bytes)
    if not named and error.errno not in _STORAGE_ERRORS:
        _fail_bug()
    typed = write_error(Path(os.fsdecode(error.filename)) if named else Path("a file of this command"), error)
    fail(str(typed), typed.exit_code)


def _fail_bug() -> NoReturn:
    """A bug of ours, shown whole, with an exit code of its own."""
    traceback.print_exc()
    fail("this is a bug in edgekd; please report it with the lines above", EXIT_BUG)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgekd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def _run(
    recipe: str,
    overrides: list[str] | None,
    out: Path | None,
    *,
    only: str | None,
    dry_run: bool,
    again: list[str] | None = None,
) -> int:
    from rich.console import Console

    from edgekd.display import LiveProgress
    from edgekd.pipeline.run import describe, plan, run
    from edgekd.report.terminal import files_lines, summary_lines

    if dry_run:
        planned = plan(recipe, overrides or [], out, only=only)
        print(describe(planned))
        planned.refuse()
        return 0
    with LiveProgress(Console(stderr=True)) as progress:
        outcome = run(recipe, overrides or [], out, only=only, again=again or [], progress=progress)
    console = Console(soft_wrap=True, highlight=False)
    whole = only is None or outcome.exit_code != EXIT_PASS
    for line in summary_lines(outcome.root) if whole else files_lines(outcome.root):
        console.print(line, markup=False)
    return outcome.exit_code


@app.command("run")
@guarded
def run_command(
    recipe: opt.RecipeName, overrides: opt.Overrides = None, out: opt.Out = None, dry_run: opt.DryRun = False,
    again: opt.Again = None,
) -> int:  # fmt: skip
    """Run every step of a recipe, and only what has changed: teacher, size, distill, export, bench, gate, report."""
    return _run(recipe, overrides, out, only=None, dry_run=dry_run, again=again)


@app.command("teacher")
@guarded
def teacher_command(
    recipe: opt.RecipeName, overrides: opt.Overrides = None, out: opt.Out = None, dry_run: opt.DryRun = False
) -> int:
    """Get the teacher ready: fetch or build it, and teach it the task when the recipe says so."""
    return _run(recipe, overrides, out, only="teacher", dry_run=dry_run)


class _SizeCommand(TyperCommand):
    """`--explain` alone means the chosen student; Typer itself knows no option with a value that may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        following = [*args[1:], "-"]
        alone = [word == "--explain" and after.startswith("-") for word, after in zip(args, following, strict=True)]
        return super().parse_args(ctx, [f"{word}=" if bare else word for word, bare in zip(args, alone, strict=True)])


@app.command("size", cls=_SizeCommand)
@guarded
def size_command(
    recipe: opt.RecipeName, overrides: opt.Overrides = None, out: opt.Out = None, dry_run: opt.DryRun = False,
    explain: opt.Explain = None, compare: opt.Compare = None,
    as_json: Annotated[bool, Option("--json", help="With --explain or --compare: the same for programs.")] = False,
) -> int:  # fmt: skip
    """Find the students that fit the device and the deadline, and prove the best of them untrained on the host."""
    if explain is None and compare is None and not as_json:
        return _run(recipe, overrides, out, only="size", dry_run=dry_run)
    from rich.console import Console

    from edgekd.files import json_text
    from edgekd.pipeline.explain import told
    from edgekd.report.explain import WIDTH, parts_of

    found = told(recipe, overrides or [], out, explain=explain, compare=compare)
    if as_json:
        print(json_text(found.to_dict()))
        return 0
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for part in parts_of(found):
        console.print(part)
    return 0


@app.command("distill")
@guarded
def distill_command(
    recipe: opt.RecipeName, overrides: opt.Overrides = None, out: opt.Out = None, dry_run: opt.DryRun = False
) -> int:
    """Train the chosen student from the teacher's answers."""
    return _run(recipe, overrides, out, only="distill", dry_run=dry_run)


@app.command("export")
@guarded
def export_command(
    recipe: opt.RecipeName, overrides: opt.Overrides = None, out: opt.Out = None, dry_run: opt.DryRun = False
) -> int:
    """Export student and teacher to ONNX, prove that they still give the same answers, and measure accuracy."""
    return _run(recipe, overrides, out, only="export", dry_run=dry_run)


@app.command("bench")
@guarded
def bench_command(
    model: Annotated[Path, Argument(metavar="MODEL.onnx", help="Any ONNX file.")],
    host: opt.Boards = "local",
    hosts: opt.HostsFile = None,
    key: Annotated[Path | None, Option(help="The private key file for ssh.")] = None,
    known_hosts: Annotated[Path | None, Option(help="Another file of trusted host keys.")] = None,
    python: Annotated[str | None, Option(help="The Python interpreter on the host.")] = None,
    out: Annotated[Path | None, Option("--out", help="The record file, or a folder for it.")] = None,
    shape: opt.Shapes = None,
    batch: Annotated[int, Option(min=1, help="The size of a dynamic batch axis.")] = 1,
    sequence: Annotated[int, Option(min=1, help="The size of a dynamic sequence axis.")] = 128,
    inputs: Annotated[Path | None, Option(help="Real inputs as .npz, one array per input.")] = None,
    id_limit: Annotated[int, Option(min=1, help="Integer inputs are drawn below this.")] = 2,
    threads: Annotated[int, Option(min=1, help="Threads of the runtime.")] = 1,
    processes: Annotated[int, Option(min=1, help="Process runs; the gate wants at least 3.")] = 10,
    warmup: Annotated[str, Option(help="Warm-up per process.")] = "500 ms",
    duration: Annotated[str, Option(help="Least measuring time per process.")] = "2 s",
    samples: Annotated[int, Option(min=1, help="Least samples per process.")] = 100,
    tune: Annotated[
        bool,
        Option("--tune", help="Set governor and clocks of the board where permitted, and put them back afterwards."),
    ] = False,
) -> int:
    """Measure any ONNX file on a host, or on several at once, and store every raw sample as records."""
    from edgekd.pipeline.measure import BenchRequest, bench_file, boards_of
    from edgekd.report.terminal import record_lines

    request = BenchRequest(
        model, host, key, known_hosts, python, out, tuple(shape or ()), batch, sequence, inputs, id_limit, threads,
        processes, warmup, duration, samples, hosts, tune,
    )  # fmt: skip
    boards = boards_of(request)
    if len(boards) > 1:
        return _bench_boards(request, boards)
    path, record = bench_file(request)
    for line in record_lines(record):
        print(line)
    print(printable(f"record {path}"))
    return 0


def _bench_boards(request: Any, boards: list[Any]) -> int:
    from rich.console import Console

    from edgekd.display import BoardTable
    from edgekd.pipeline.boards import bench_boards, exit_code_of, failure_lines, result_lines

    with BoardTable(Console(stderr=True), [board.name for board in boards]) as table:
        results = bench_boards(request, boards, table)
    for line in result_lines(results):
        print(line)
    for line in failure_lines(results):
        print(line, file=sys.stderr)
    return exit_code_of(results)


@app.command("gate")
@guarded
def gate_command(
    records: Annotated[list[Path], Argument(metavar="RECORDS...", help="Record files, or folders of them.")],
    sla: Annotated[Path, Option(help="The SLA file.")],
    out: Annotated[Path | None, Option(help="Write verdict.json here.")] = None,
    junit: Annotated[Path | None, Option(help="Write JUnit XML here.")] = None,
    github: opt.GitHub = False,
) -> int:
    """Judge records against an SLA: exit 0 for PASS, 1 for FAIL, 3 for INCONCLUSIVE."""
    from edgekd.pipeline.judge import gate_files
    from edgekd.report.terminal import verdict_lines

    judged = gate_files(records, sla, out=out, junit=junit, github=github)
    warnings = (f"  warning: {printable(warning, 300)}" for warning in judged.warnings)
    for line in (*verdict_lines(judged.verdict), *warnings, *judged.annotations):
        print(line)
    return judged.exit_code


@app.command("compare")
@guarded
def compare_command(
    baseline: Annotated[Path, Argument(metavar="BASELINE.json")],
    candidate: Annotated[Path, Argument(metavar="CANDIDATE.json")],
) -> int:
    """Compare two latency records of the same host and protocol: faster, slower, or no difference shown."""
    from edgekd.pipeline.judge import compare_files
    from edgekd.report.terminal import comparison_lines

    comparison = compare_files(baseline, candidate)
    for line in comparison_lines(comparison):
        print(line)
    return 0


@app.command("report")
@guarded
def report_command(
    run: Annotated[Path, Argument(metavar="RUN", help="A run folder, such as runs/quickstart.")],
    out: Annotated[Path | None, Option(help="The page; RUN/report.html by default.")] = None,
) -> int:
    """Make the report page of a run folder again."""
    from edgekd.report.page import write_report

    print(write_report(run, out))
    return 0


@app.command("schema")
@guarded
def schema_command(kind: Annotated[str, Argument(metavar="recipe|device|sla|hosts")]) -> int:
    """Print the JSON Schema of a file that you write, for editors that complete it."""
    from edgekd.pipeline.schema import schema_text

    print(schema_text(kind))
    return 0


for verb, command in DEVICE_VERBS.items():
    devices.command(verb)(guarded(command))


@devices.command("trust")
@guarded
def devices_trust_command(
    board: Annotated[str, Argument(metavar="BOARD", help="ssh://HOST:PORT, or a name of hosts.yaml.")],
    fingerprint: Annotated[str, Option(help="The host key's fingerprint, SHA256:..., read on the board itself.")],
    known_hosts: Annotated[Path | None, Option(help="Another file of trusted host keys.")] = None,
    hosts: opt.HostsFile = None,
) -> int:
    """Trust a board's host key: the only way it enters edgekd's own known-hosts file."""
    from edgekd.hosts.trust import trust

    key = trust(board, fingerprint, known_hosts, hosts)
    print(f"trusted: {key.kind} {key.fingerprint}")
    return 0


@devices.command("calibrate")
@guarded
def devices_calibrate_command(
    host: opt.Board,
    device: opt.Kind,
    like: opt.Like = "bert",
    phase: opt.Phase = "whole",
    budget: Annotated[str, Option(help="Most time for measuring.")] = "3 min",
    students: Annotated[int, Option(help="Untrained students to measure in each precision.")] = 20,
    precision: opt.Precisions = None,
    sequence: opt.Lengths = None,
    batch: Annotated[int, Option(min=1, help="Inputs at once.")] = 1,
    threads: Annotated[int, Option(min=1, help="Threads of the runtime.")] = 1,
    key: Annotated[str | None, Option(help="The private key file for ssh.")] = None,
    known_hosts: Annotated[str | None, Option(help="Another file of trusted host keys.")] = None,
    hosts: opt.HostsFile = None,
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
        hosts=None if hosts is None else str(hosts),
    )  # fmt: skip
    with LiveProgress(Console(stderr=True)) as progress:
        outcome = calibrate(request, base=Path.cwd(), progress=progress)
    for line in outcome_lines(outcome):
        print(line)
    return 0


def main() -> None:
    """The program `edgekd`."""
    app()
