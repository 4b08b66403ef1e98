"""The layers of an exported graph: where the block that repeats begins, and how names go on from layer to layer.

Everything is told from names. The exporter names a value after the module that makes it and numbers the rest, so a
name in a layer is a text with numbers that grow evenly: with the layer, and with the count of all layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgekd.errors import ExportError

_NUMBER = re.compile(r"([0-9]+)")
_SERIAL_VALUE = re.compile(r"(onnx::[A-Za-z]+_)[0-9]+")
_SERIAL_NODE = re.compile(r"([A-Za-z]+_)[0-9]+$")


def renumber(proto: Any) -> None:
    """Give values and nodes that the exporter did not name after a module new serial numbers, by their place.

    The exporter counts what it later drops again, and how much that is depends on chance: on numbers that are equal.
    """
    serials: dict[str, int] = {}

    def renamed(name: str, index: int, form: re.Pattern[str] = _SERIAL_VALUE) -> str:
        found = form.match(name)
        if found is None:
            return name
        serial = serials.setdefault(found.group(), index + len(serials))
        return f"{found.group(1)}{serial}{name[found.end() :]}"

    for index, node in enumerate(proto.graph.node):
        node.input[:] = [renamed(name, index) for name in node.input]
        node.output[:] = [renamed(name, index) for name in node.output]
        node.name = renamed(node.name, index, _SERIAL_NODE)
    for tensor in proto.graph.initializer:
        tensor.name = renamed(tensor.name, len(proto.graph.node))


class Item(NamedTuple):
    """A node, an input or an output: its names, and what must be equal for two of them to be of one kind."""

    names: tuple[str, ...]
    kind: tuple[Any, ...]


def item(names: Sequence[str], *kind: Any) -> Item:
    """The item with those names; their texts without the numbers belong to its kind."""
    return Item(tuple(names), (*kind, *(_NUMBER.sub("#", name) for name in names)))


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name: texts, and between them numbers of the form start + block * step + layers * growth."""

    texts: tuple[str, ...]
    numbers: tuple[tuple[int, int, int], ...]

    def text(self, block: int, layers: int) -> str:
        """The name in that repeated block of a graph with so many layers."""
        if not self.numbers:
            return self.texts[0]
        words = [self.texts[0]]
        for (start, step, growth), text in zip(self.numbers, self.texts[1:], strict=True):
            words += (str(start + block * step + layers * growth), text)
        return "".join(words)


class Seen(NamedTuple):
    """A name as it was found: in which repeated block, in a graph of how many layers."""

    block: int
    layers: int
    name: str


def pattern(seen: Sequence[Seen]) -> Pattern:
    """The pattern behind one name in all places it was seen. Errors: ExportError when there is none."""
    texts = tuple(_NUMBER.split(seen[0].name)[::2])
    rows = [[int(word) for word in _NUMBER.findall(one.name)] for one in seen]
    numbers = tuple(_affine(seen, [row[index] for row in rows]) for index in range(len(rows[0])))
    found = Pattern(texts, numbers)
    if all(growth == step == 0 for _, step, growth in numbers):
        found = Pattern((seen[0].name,), ())
    for one in seen:
        if found.text(one.block, one.layers) != one.name:
            raise ExportError(
                f"the name {one.name!r} does not follow from those of other layers (expected"
                f" {found.text(one.block, one.layers)!r}). Export each student instead"
            )
    return found


def _affine(seen: Sequence[Seen], values: Sequence[int]) -> tuple[int, int, int]:
    """Start, step and growth through the first block of each graph and the next one of the last graph."""
    found = {(one.layers, one.block): value for one, value in zip(seen, values, strict=True)}
    (layers, block), start = min(found), found[min(found)]
    last, _ = max(found)
    step = found.get((last, block + 1), found[last, block]) - found[last, block]
    growth = (found[last, block] - start) // (last - layers) if last > layers else 0
    return start - block * step - layers * growth, step, growth


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the repeated blocks of two graphs lie: from `start` on, `period` items each, then the rest."""

    start: int
    period: int
    blocks: tuple[int, int]
    lengths: tuple[int, int]

    def places(self) -> Iterator[tuple[str, list[tuple[int, int, int]]]]:
        """For each item of the part before, of one block and of the part after: all its (graph, block, index)."""
        for index in range(self.start):
            yield "before", [(0, 0, index), (1, 0, index)]
        for index in range(self.start, self.start + self.period):
            yield (
                "block",
                [
                    (graph, block, index + block * self.period)
                    for graph in (0, 1)
                    for block in range(self.blocks[graph])
                ],
            )
        rest = self.lengths[0] - self.start - self.blocks[0] * self.period
        for back in range(rest, 0, -1):
            yield "after", [(graph, 0, self.lengths[graph] - back) for graph in (0, 1)]


def layout(short: Sequence[Item], long: Sequence[Item], layers: tuple[int, int]) -> Layout:
    """Where the items repeat in two graphs of one model with `layers` layers each, the second with more or as many.

    A block need not begin where a layer does, and the first layer may differ from the others.
    Errors: ExportError when the graphs do not grow evenly with the layers.
    """
    lengths, grown = (len(short), len(long)), layers[1] - layers[0]
    period, rest = divmod(lengths[1] - lengths[0], grown) if grown else (0, lengths[1] - lengths[0])
    if rest or period < 0:
        raise ExportError(f"graphs of {layers} layers have {lengths} parts, which is no even growth")
    if period == 0:
        found = Layout(len(short), 0, (0, 0), lengths)
    else:
        start, end = _longest_run(long, period)
        blocks = (end - start) // period
        found = Layout(start, period, (blocks - grown, blocks), lengths)
        if found.blocks[0] < 1:
            raise ExportError(f"the layers of the graph do not repeat: {blocks} of {layers[1]} are equal")
    for _, places in found.places():
        kinds = {((short, long)[graph][index]).kind for graph, _, index in places}
        if len(kinds) != 1:
            raise ExportError(
                f"the graphs of {layers} layers differ by more than layers: {sorted(map(str, kinds))[:2]}"
            )
    return found


def _longest_run(items: Sequence[Item], period: int) -> tuple[int, int]:
    """The longest stretch in which each item is one of the same kind, evenly numbered, a period later."""
    best = (0, 0)
    start = 0
    numbers = [[int(word) for name in one.names for word in _NUMBER.findall(name)] for one in items]
    for index in range(len(items) - 2 * period + 1):
        if index < len(items) - 2 * period and _goes_on(items, numbers, index, period):
            continue
        if index - start > best[1] - best[0]:
            best = (start, index)
        start = index + 1
    return (best[0], best[1] + 2 * period) if best[1] else best


def _goes_on(items: Sequence[Item], numbers: Sequence[list[int]], index: int, period: int) -> bool:
    first, second, third = (items[index + block * period].kind for block in range(3))
    if not first == second == third:
        return False
    rows = zip(*(numbers[index + block * period] for block in range(3)), strict=True)
    return all(one - two == two - three for one, two, three in rows)
