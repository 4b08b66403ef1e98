"""From the recipe's `data` to training, validation and test parts, wherever the data set is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from edgekd.data.classes import Classes, classes_from_part
from edgekd.data.examples import Examples, Kind, Splits
from edgekd.data.leakage import without_leaked
from edgekd.data.local import local_parts
from edgekd.data.parts import ONLY_CLASS, Part
from edgekd.data.remote import hub_parts, hub_source, sklearn_part
from edgekd.data.splitting import cut, drawn
from edgekd.errors import DataError
from edgekd.measures import inside_starts
from edgekd.recipe import Data
from edgekd.task import Labelling


def load_splits(data: Data, *, base: Path = Path(), kind: Kind | None = None, labelling: Labelling = "one") -> Splits:
    """The data set that `data` names, in three parts; `base` is the folder where relative paths start.

    `kind` and `labelling` are what the task needs; without a kind the columns decide, and with the labelling `none` it
    is texts alone, of one class. Missing parts are cut from the training part before
    `max_train_examples` is drawn from the rest: so how much is trained on never changes what is judged on. Between the
    two, `drop_leaked` leaves out of the training part what also stands in another part.
    Errors: DataError naming file and row; MissingExtra.
    """
    data, notes = _present(data, base)
    parts, more = _parts(data, base, kind, labelling)
    for part in parts.values():
        if kind is not None and part.kind != kind:
            raise DataError(f"{part.where}: holds {part.kind}s, but the task needs {kind}s. Change task or data.source")
    only = Classes([ONLY_CLASS], numbered=False)
    classes = only if labelling == "none" else classes_from_part(parts["train"], data.labels)
    examples = {name: part.examples(classes.numbers(part), len(classes.names)) for name, part in parts.items()}
    _check_shapes(examples)
    notes += [note for part in examples.values() for note in _odd_starts(part, classes.names)]
    examples, cut_notes = _completed(examples, data, classes)
    examples["train"], dropped = _without_leaked(examples, data)
    full = examples["train"]
    if data.max_train_examples is not None:
        examples["train"] = drawn(full, data.max_train_examples, data.seed, classes.names)
    if len(examples["train"]) < len(full):
        cut_notes.append(f"{len(examples['train'])} of {len(full)} training examples are used (max_train_examples).")
    notes += [*more, *cut_notes]
    return Splits(**examples, label_names=classes.names, kind=full.kind, notes=notes, dropped=dropped)


def _present(data: Data, base: Path) -> tuple[Data, list[str]]:
    """`data`, or the first of its `otherwise` whose source is not a missing local path."""
    notes: list[str] = []
    while data.otherwise is not None and not _is_named(data.source) and not _path(data, base).exists():
        notes.append(f"{data.source} is not there: {data.otherwise.source} is used instead (data.otherwise).")
        data = data.otherwise
    return data, notes


def _is_named(source: str) -> bool:
    return source.startswith(("hub:", "sklearn:"))


def _path(data: Data, base: Path) -> Path:
    return base / Path(data.source).expanduser()


def _parts(data: Data, base: Path, kind: Kind | None, labelling: Labelling) -> tuple[dict[str, Part], list[str]]:
    if data.source.startswith("sklearn:"):
        if labelling != "one":
            raise DataError(f"{data.source}: has one class for each image. Set task: image-classification")
        return {"train": sklearn_part(data.source)}, []
    if data.source.startswith("hub:"):
        return hub_parts(hub_source(data.source, base), data, kind, labelling), []
    path = _path(data, base)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. Give a local path, hub:ID or sklearn:digits in data.source")
    return local_parts(path, data, kind, labelling)


def _odd_starts(part: Examples, names: list[str]) -> list[str]:
    """What to say of entities that begin with an inside tag."""
    if part.words is None:
        return []
    tags, starts = [names[label] for label in part.labels], part.starts
    count = sum(inside_starts(tags[begin:end]) for begin, end in pairwise(starts.tolist()))
    if not count:
        return []
    return [f"{part.name}: {count} entities begin with an inside tag (I-), after O or another type; they are read so."]


def _check_shapes(parts: dict[str, Examples]) -> None:
    expected = parts["train"].images
    for part in parts.values():
        if expected is None or part.images is None:
            continue
        found, wanted = (
            f"{' x '.join(map(str, images.shape[1:]))} of {images.dtype.name}" for images in (part.images, expected)
        )
        if found != wanted:
            raise DataError(f"{part.name}: images are {found}, expected {wanted} as in {parts['train'].name}")


def _completed(parts: dict[str, Examples], data: Data, classes: Classes) -> tuple[dict[str, Examples], list[str]]:
    """The parts with those that were missing cut from the training part, the test part first."""
    missing = [name for name in ("test", "validation") if name not in parts]
    shares = {"test": data.test_share, "validation": data.validation_share}
    if sum(shares[name] for name in missing) >= 1:
        raise DataError("data.validation_share and data.test_share leave nothing to train on, expected a sum below 1")
    train, whole, notes = parts["train"], len(parts["train"]), []
    complete = dict(parts)
    for left, name in enumerate(missing):
        # Shares are of the whole training part, so the second cut takes more of what is left.
        share = shares[name] * whole / len(train)
        train, complete[name] = cut(train, share, classes.names, seed=data.seed, purpose=name, keep=len(missing) - left)
        notes.append(f"{name} was cut from {train.name}: {len(complete[name])} of {whole} examples (seed {data.seed}).")
    complete["train"] = train
    return complete, notes


def _without_leaked(parts: dict[str, Examples], data: Data) -> tuple[Examples, int]:
    """The training part, without what also stands in another part if `data` says so, and how many that were."""
    train = parts["train"]
    if not data.drop_leaked:
        return train, 0
    rest = without_leaked(train, [parts["validation"], parts["test"]])
    if not len(rest):
        raise DataError(
            f"{train.name}: each of its {len(train)} examples also stands in the validation or test part, and "
            "data.drop_leaked leaves nothing to train on. Name other parts in data.validation and data.test"
        )
    return rest, len(train) - len(rest)
