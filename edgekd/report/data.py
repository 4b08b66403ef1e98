"""The data of a run, for the page and the terminal: how much there is, what stands in two parts, what to know of it."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.report.markup import Child, Html, element, join, rows_of
from edgekd.report.run import DataFile, LeakFacts, RunFolder
from edgekd.units import text_from_share

PARTS = ("train", "validation", "test")
COLUMNS = ("part", "examples", "classes", "smallest", "largest", "also in train", "also in validation")
TEXT_COLUMNS = ("blank", "cut off")


def part_rows(file: DataFile) -> list[tuple[str, ...]]:
    """A heading, and a row for each part: its size, its classes where it has labels, what also stands in another part.

    Of texts also those that are blank or cut off.
    """
    leaks = {(leak.part, leak.other): leak for leak in file.leakage}
    labelled = len(file.classes) > 1
    rows = [(*COLUMNS[:2], *(COLUMNS[2:5] if labelled else ()), *COLUMNS[5:], *(TEXT_COLUMNS if file.blank else ()))]
    for part in (name for name in PARTS if name in file.examples):
        counts = [getattr(row, part) for row in file.classes]
        present = [count for count in counts if count]
        found = [leaks.get((part, other)) for other in ("train", "validation")]
        sizes = (len(present), min(present, default=0), max(present, default=0)) if labelled else ()
        rows.append((
            part, str(file.examples[part]), *map(str, sizes),
            *map(_leak_text, found), *(_text_counts(file, part) if file.blank else ()),
        ))  # fmt: skip
    return rows


def _leak_text(leak: LeakFacts | None) -> str:
    if leak is None:
        return "-"
    count = leak.same + leak.nearly
    return f"{count} ({text_from_share(leak.share)})" if count else "0"


def _text_counts(file: DataFile, part: str) -> tuple[str, ...]:
    truncated = "-" if file.truncated is None else str(file.truncated.get(part, 0))
    return str(file.blank.get(part, 0)), truncated


def data_warnings(run: RunFolder) -> Html | None:
    """What the reader of a verdict must know of the data behind it; nothing where there is nothing to say."""
    if run.data is None or not run.data.warnings:
        return None
    lines = [element("li", text) for text in run.data.warnings]
    return join(element("h3", "What to know of the data", class_="below"), element("ul", lines))


def data(run: RunFolder) -> Html | None:
    """The section about the data; None for a run that did not look at it."""
    file = run.data
    if file is None:
        return None
    return join(
        element("h2", "The data"),
        element("p", _summary(file), class_="quiet"),
        _table(part_rows(file)),
        _shared(file.leakage),
        _classes(file) if len(file.classes) > 1 else None,
    )


def _summary(file: DataFile) -> str:
    same = (
        "the same but for case, spaces and punctuation, or nearly the same" if file.blank else "the same to the pixel"
    )
    told = ["Smallest and largest count the examples of a class."] if len(file.classes) > 1 else []
    told.append(f"Also in another part is what is {same} there.")
    if file.truncated is not None:
        told.append(f"Cut off are texts of more than {file.max_length} tokens.")
    if file.dropped:
        told.append(f"{file.dropped} training examples were left out because they also stand in another part.")
    return " ".join(told)


def _table(rows: Sequence[Sequence[str]]) -> Html:
    heading: list[Child] = [rows[0][0], *[element("th", name, class_="number") for name in rows[0][1:]]]
    body: list[list[Child]] = [
        [row[0], *[element("td", cell, class_="number") for cell in row[1:]]] for row in rows[1:]
    ]
    table = element("table", element("thead", rows_of([heading], "th")), element("tbody", rows_of(body)))
    return element("div", table, class_="scroll")


def _shared(leaks: Sequence[LeakFacts]) -> Html | None:
    rows: list[list[Child]] = [
        [f"{leak.part}, {one.row}", one.text, f"{leak.other}, {one.other_row}", one.other_text,
         element("td", text_from_share(one.similarity), class_="number")]
        for leak in leaks
        for one in leak.shown
    ]  # fmt: skip
    if not rows:
        return None
    heading: list[Child] = ["part, example", "", "also in", "", element("th", "alike", class_="number")]
    table = element("table", element("thead", rows_of([heading], "th")), element("tbody", rows_of(rows)))
    return element(
        "details",
        element("summary", "Some of the examples that stand in two parts"),
        element("div", table, class_="scroll"),
    )


def _classes(file: DataFile) -> Html:
    rows = [(row.name, *(str(getattr(row, part)) for part in PARTS)) for row in file.classes]
    return element("details", element("summary", f"The {len(rows)} classes"), _table([("class", *PARTS), *rows]))
