"""The step report: the page follows every file that it shows."""

from pathlib import Path

import pytest

from edgekd.pipeline.context import Context, inputs_hash
from edgekd.pipeline.page import SHOWN, inputs, work


def test_the_page_is_one_file_that_names_the_verdict_and_loads_nothing(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    assert "<title>PASS: tiny (edgekd)</title>" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


@pytest.mark.parametrize("name", [*SHOWN, "records/latency-student-fp32.json"])
def test_every_file_it_shows_makes_another_page(name: str, root: Path, context: Context) -> None:
    base = inputs_hash(inputs(context))
    (root / name).write_text((root / name).read_text() + "\n")
    assert inputs_hash(inputs(context)) != base
    (root / name).unlink()
    assert inputs_hash(inputs(context)) != base


def test_equal_folders_give_equal_pages(root: Path, context: Context) -> None:
    before = (root / "report.html").read_bytes()
    done = work(context, root / "work" / "report")
    assert done.paths == (root / "report.html",)
    assert (root / "report.html").read_bytes() == before
