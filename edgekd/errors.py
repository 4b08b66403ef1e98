"""Every error edgekd raises on purpose, and the exit code each branch ends in.

    EdgekdError
      InputError            exit 2    a file, a flag or a profile is wrong
        RecipeError                   recipe.yaml
        ProfileError                  device_profiles/*.yaml
        SlaError                      sla.yaml
        SpecError                     a student that cannot exist
        RecordError                   a record, manifest or other JSON file of ours
        DataError                     the user's data set
        TeacherError                  a teacher that has not learned its task
        HostsError                    hosts.yaml
        UnitError                     "5 parsecs" where a duration belongs
      ToolError             exit 4    something on this machine is missing or failed
        MissingExtra                  an optional dependency is not installed
        StorageError                  disk full, folder vanished
        TrainingError                 training went wrong (no memory)
          Diverged                    a loss or an answer is no number
        ExportError                   export or parity failed
      HostError             exit 4    the board or the link to it
        ConnectError                  no connection
        LinkLost                      there was a connection, and it broke
        CommandError                  the command ran and failed
        HostTimeout                   the command or the link did not answer in time
          Stalled                     nothing moved for a while
        DiskFull                      the board has no room
        RunError                      a run on the board ended without a result; its `state` says how
      MeasureError          exit 4    samples unreadable or impossible
        Corrupt                       a result that arrived damaged or cannot be true
      SecurityError         exit 5    refused: unknown host key, unsafe file

A missed SLA is a verdict (exit 1), an undecided one is a verdict too (exit 3): neither is an error, and an error is
never turned into a verdict. Anything that is not an EdgekdError is a bug of ours (exit 70).

A message says where, what was found, what was expected and how to mend it, in one line.
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_PASS = 0
EXIT_SLA_MISSED = 1
EXIT_USAGE = 2
EXIT_INCONCLUSIVE = 3
EXIT_INFRASTRUCTURE = 4
EXIT_SECURITY = 5
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
# Where several boards end differently, one code speaks for all: what somebody must look at first.
_WORST_FIRST = (
    EXIT_INTERRUPTED,
    EXIT_BUG,
    EXIT_SECURITY,
    EXIT_INFRASTRUCTURE,
    EXIT_USAGE,
    EXIT_SLA_MISSED,
    EXIT_INCONCLUSIVE,
)


def worst_exit_code(codes: Iterable[int]) -> int:
    """The code that speaks for all of `codes`: 130, 70, 5, 4, 2, 1, 3, in this order, and 0 for none of these."""
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), EXIT_PASS)


class EdgekdError(Exception):
    """Root of the tree: `except EdgekdError` catches all of ours."""

    exit_code = EXIT_BUG


class InputError(EdgekdError):
    """A file, a flag or a profile is wrong; the user mends it."""

    exit_code = EXIT_USAGE


class RecipeError(InputError):
    """The recipe cannot be read or contradicts itself."""


class ProfileError(InputError):
    """A device profile is unknown or wrong."""


class SlaError(InputError):
    """An SLA file is wrong."""


class SpecError(InputError):
    """A student that cannot exist."""


class RecordError(InputError):
    """A record, a manifest or another JSON file of ours is unreadable, damaged or of another version."""


class DataError(InputError):
    """The user's data set is missing, empty or malformed."""


class TeacherError(InputError):
    """A teacher has not learned its task, so that a student cannot learn it from there."""


class HostsError(InputError):
    """The user's hosts.yaml is wrong."""


class UnitError(InputError):
    """A quantity without a unit, or with one that does not belong there."""


class ToolError(EdgekdError):
    """Something on this machine is missing or failed."""

    exit_code = EXIT_INFRASTRUCTURE


class MissingExtra(ToolError):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        self.module = module
        self.extra = extra
        super().__init__(f"this step needs {module}, which is not installed. Run: pip install 'edgekd[{extra}]'")


class StorageError(ToolError):
    """A file could not be written or read back: disk full, folder vanished."""


class TrainingError(ToolError):
    """Training cannot go on or would be worthless."""


class Diverged(TrainingError):
    """A loss or an answer is NaN or infinite."""


class ExportError(ToolError):
    """Export failed, or the exported model does not agree with the trained one."""


class HostError(EdgekdError):
    """The board, or the link to it."""

    exit_code = EXIT_INFRASTRUCTURE


class ConnectError(HostError):
    """No connection to the board."""


class LinkLost(HostError):
    """The connection to the board broke; another one may do."""


class CommandError(HostError):
    """A command ran on the host and failed."""

    def __init__(self, message: str, *, exit_status: int, stdout: str = "", stderr: str = "") -> None:
        self.exit_status = exit_status
        self.stdout = stdout
        self.stderr = stderr
        super().__init__(message)


class HostTimeout(HostError):
    """The command or the link did not answer in time."""


class Stalled(HostTimeout):
    """Nothing moved for a while, though the connection stands; another one may do."""


class DiskFull(HostError):
    """The board has no room for what was to be stored there."""


class RunError(HostError):
    """A run on the board ended without a result, or nobody can tell: `state` is one of bench.states.FAILED."""

    def __init__(self, message: str, *, state: str) -> None:
        self.state = state
        super().__init__(message)


class MeasureError(EdgekdError):
    """Samples that cannot be read or cannot be true."""

    exit_code = EXIT_INFRASTRUCTURE


class Corrupt(MeasureError):
    """A result that arrived damaged, or whose values cannot be true."""

    state = "CORRUPT"


class SecurityError(EdgekdError):
    """Refused for safety: an unknown or changed host key, an unsafe file."""

    exit_code = EXIT_SECURITY
