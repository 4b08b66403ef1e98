"""The report: one HTML page that explains a whole run, and needs nothing but itself."""

from __future__ import annotations

import importlib
from pathlib import Path

from edgekd.files import write_text
from edgekd.report.attempts import attempts
from edgekd.report.data import data, data_warnings
from edgekd.report.environment import environment
from edgekd.report.headline import headline
from edgekd.report.markup import Html, element, join, own_script, own_style, page
from edgekd.report.run import RunFolder, read_run
from edgekd.report.sections import choice, latency, training
from edgekd.report.versus import versus

REPORT = "report.html"


def write_report(run: Path, out: Path | None = None) -> Path:
    """The report of the run folder `run`, written to `out` or into the run folder; gives the path.

    Equal run folders give equal pages. What a step has not left yet is named with the command that makes it.
    Errors: InputError for a folder that is no run, RecordError for a damaged file, StorageError.
    """
    path = out if out is not None else run / REPORT
    write_text(path, report_text(read_run(run)))
    return path


def report_text(run: RunFolder) -> str:
    """The page as text."""
    body = join(
        element("h1", f"edgekd report: {run.name}"),
        headline(run),
        data_warnings(run),
        versus(run),
        attempts(run),
        choice(run),
        training(run),
        latency(run),
        data(run),
        environment(run),
        element("footer", "Made by edgekd. This page loads nothing and sends nothing."),
        element("noscript", element("p", "The plots need JavaScript; every number that counts stands in the tables.")),
    )
    scripts, hashes = _scripts()
    # Nothing may be loaded from anywhere; of scripts only these two, by their hash, so injected ones would not run.
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = join(
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        own_style(_own("page.css")),
    )
    return page(_title(run), head, join(body, scripts))


def _title(run: RunFolder) -> str:
    if run.nothing_fits:
        return f"FAIL: {run.name} (edgekd)"
    return f"{run.verdict.outcome.upper()}: {run.name} (edgekd)" if run.verdict else f"{run.name} (edgekd)"


def _scripts() -> tuple[Html, list[str]]:
    # Imported here: it takes half as long as all else that a light command needs.
    library: str = importlib.import_module("plotly.offline").get_plotlyjs()
    pieces = [own_script(code) for code in (library, _own("page.js"))]
    return join(piece for piece, _ in pieces), [digest for _, digest in pieces]


def _own(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
