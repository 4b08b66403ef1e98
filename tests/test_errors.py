"""The error tree: every error has an exit code of the law, and the docstring draws the tree as it is."""

import inspect

import pytest

from edgekd import errors

CLASSES = [
    item
    for _, item in inspect.getmembers(errors, inspect.isclass)
    if issubclass(item, errors.EdgekdError) and item is not errors.EdgekdError
]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_ends_in_usage_infrastructure_or_security(error: type[errors.EdgekdError]) -> None:
    assert error.exit_code in {errors.EXIT_USAGE, errors.EXIT_INFRASTRUCTURE, errors.EXIT_SECURITY}


@pytest.mark.parametrize("error", CLASSES)
def test_the_docstring_draws_every_error(error: type[errors.EdgekdError]) -> None:
    assert f"  {error.__name__} " in str(errors.__doc__)


def test_no_error_can_look_like_a_verdict() -> None:
    verdicts = {errors.EXIT_PASS, errors.EXIT_SLA_MISSED, errors.EXIT_INCONCLUSIVE}
    assert all(error.exit_code not in verdicts for error in CLASSES)


def test_a_missing_extra_names_the_command_that_mends_it() -> None:
    error = errors.MissingExtra("torch", "train")
    assert "pip install 'edgekd[train]'" in str(error)


def test_a_command_error_carries_what_happened() -> None:
    error = errors.CommandError("failed", exit_status=7, stdout="a", stderr="b")
    assert (error.exit_status, error.stdout, error.stderr) == (7, "a", "b")


def test_the_code_that_somebody_must_look_at_first_speaks_for_all() -> None:
    assert errors.worst_exit_code([]) == errors.worst_exit_code([0, 0]) == 0
    order = [130, 70, 5, 4, 2, 1, 3, 0]
    for place, code in enumerate(order):
        assert errors.worst_exit_code(reversed(order[place:])) == code
