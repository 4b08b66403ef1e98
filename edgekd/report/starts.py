"""The starts of a student that were compared before its training."""

from __future__ import annotations

from edgekd.report.markup import Child, Html, element, rows_of
from edgekd.report.run import ComparedStart, Initialisation

_METHODS = {
    "random": "random weights",
    "uniform": "evenly spaced parts",
    "magnitude": "the largest weights",
    "importance": "what matters most on inputs",
    "gates": "what matters most on inputs, heads by their part in the loss",
    "rotation": "principal directions",
}
_COLUMNS = ("loss before", "steps", "loss after")


def start_text(begun: Initialisation) -> str:
    """Where the student's first weights came from, in a sentence or two; nothing where the file does not say."""
    layers = layers_text(begun.layer_map)
    if begun.method == "random":
        told = "It started from random weights"
    elif not layers:
        return ""
    else:
        how = f", by {_METHODS.get(begun.method, begun.method)}" if begun.method else ""
        told = f"It started from the teacher's {layers}{how}"
    return f"{told}: the best of {len(begun.compared)} starts." if len(begun.compared) > 1 else f"{told}."


def layers_text(layers: list[int]) -> str:
    """'layers 1, 3, 6': counted from 1, as people do."""
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(str(layer + 1) for layer in layers)}" if layers else ""


def starts_part(begun: Initialisation) -> Html | None:
    """The table of all starts, folded up; None where none were compared."""
    if len(begun.compared) < 2:
        return None
    heading = [element("th", "start"), *[element("th", name, class_="number") for name in _COLUMNS], element("th", "")]
    rows = [_row(start, chosen=index == 0) for index, start in enumerate(begun.compared)]
    return element(
        "details",
        element("summary", f"The {len(rows)} starts that were compared"),
        element("div", element("table", element("thead", rows_of([heading])), element("tbody", rows_of(rows))),
                class_="scroll"),
        element(
            "p", "Cross entropy on examples of the validation part, before any training and after the given optimiser "
            "steps of distillation. The lowest after them wins.", class_="caption",
        ),
    )  # fmt: skip


def _row(start: ComparedStart, *, chosen: bool) -> list[Child]:
    name = _METHODS.get(start.method, start.method)
    layers = layers_text(start.layers)
    cells = [_loss(start.initial_loss), str(start.steps) if start.steps else "-", _loss(start.trained_loss)]
    said = "chosen" if chosen else "diverged" if start.steps and start.trained_loss is None else ""
    return [f"{name}, {layers}" if layers else name, *[element("td", cell, class_="number") for cell in cells], said]


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
