import logging

import datasets
import pytest
import transformers

from edgekd.distill.quiet import silent_libraries


def test_libraries_are_silent_inside_and_as_before_after_an_error() -> None:
    bars, verbosity = datasets.utils.are_progress_bars_disabled(), transformers.logging.get_verbosity()
    seen = []

    def fail_inside() -> None:
        with silent_libraries():
            seen.append((datasets.utils.are_progress_bars_disabled(), transformers.logging.get_verbosity()))
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail_inside()
    assert seen == [(True, logging.ERROR)]
    assert datasets.utils.are_progress_bars_disabled() == bars
    assert transformers.logging.get_verbosity() == verbosity


def test_bars_that_were_off_stay_off() -> None:
    datasets.disable_progress_bars()
    try:
        with silent_libraries():
            pass
        assert datasets.utils.are_progress_bars_disabled()
    finally:
        datasets.enable_progress_bars()
