"""The step export: student and teacher as ONNX, proof that they still say the same, and how often they are right."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekd.export.manifest import Entry, Manifest, artifact, entry_from_file, write_manifest
from edgekd.files import make_folder
from edgekd.pipeline.context import ARTIFACTS, RECORDS, STUDENT, TEACHER, Context, Done, data_used
from edgekd.pipeline.saved import read_preprocessing, read_trained
from edgekd.record import AccuracyRecord, write_record
from edgekd.units import text_from_bytes, text_from_share

if TYPE_CHECKING:
    from edgekd.export.parity import Sentences

Role = Literal["student", "teacher"]


def inputs(context: Context) -> Any:
    """Both trained models, the precisions and the limits of parity."""
    recipe = context.recipe
    models = {
        name: digest
        for step in ("teacher", "distill")
        for name, digest in context.left_by(step).items()
        if name.startswith((f"{TEACHER}/", f"{STUDENT}/"))
    }
    data = context.data_content("validation", "test")
    return [models, recipe.precisions, recipe.parity.model_dump(mode="json"), recipe.bench.batch, data]


def work(context: Context, scratch: Path) -> Done:
    """Write artifacts/ with its manifest, and records/accuracy-*.json. Errors: ExportError when parity is lost."""
    staged = scratch / ARTIFACTS
    shutil.rmtree(scratch, ignore_errors=True)
    make_folder(staged)
    records = make_folder(context.path(RECORDS))
    for old in records.glob("accuracy-*.json"):
        old.unlink()
    exported = [
        *_exported(context, staged, TEACHER, "teacher", ["fp32"]),
        *_exported(context, staged, STUDENT, "student", context.recipe.precisions),
    ]
    write_manifest(Manifest(entries=[entry for entry, _ in exported]), staged)
    shutil.rmtree(context.path(ARTIFACTS), ignore_errors=True)
    staged.rename(context.path(ARTIFACTS))
    paths = []
    for entry, record in exported:
        paths.append(records / f"accuracy-{entry.name}.json")
        write_record(record, paths[-1])
    found = [
        f"{entry.name} {text_from_bytes(entry.size_bytes)} {text_from_share(r.accuracy, 2)}" for entry, r in exported
    ]
    return Done((context.path(ARTIFACTS), *paths), "; ".join(found))


@dataclass(frozen=True)
class _Prepared:
    """A trained model, with real inputs in the batches that the device will see, and the `truth` about the test
    part.
    """

    model: Any
    kind: Literal["text", "image"]
    parity: Callable[[], Iterator[dict[str, Any]]]
    test: Callable[[], Iterator[dict[str, Any]]]
    truth: list[int]
    sentences: Sentences | None


def _prepared(context: Context, folder: Path) -> _Prepared:
    import numpy as np

    from edgekd.data.encode import encode, load_tokenizer, numpy_batches
    from edgekd.export.parity import Sentences

    splits, batch = context.splits, context.recipe.bench.batch
    preprocessing = read_preprocessing(folder)
    tokenizer = load_tokenizer(folder) if splits.kind == "text" else None
    pad = getattr(tokenizer, "pad_token_id", None) or 0
    shown = splits.validation.subset(list(range(min(context.recipe.parity.examples, len(splits.validation)))))
    parity, test = encode(shown, preprocessing, tokenizer), encode(splits.test, preprocessing, tokenizer)
    rows = [np.asarray(labels) for labels in test.with_format(None)["labels"]]
    # int8 activations are scaled over the whole batch, so accuracy is that of the batches the device will see.
    return _Prepared(
        model=read_trained(folder, splits.label_names, context.recipe.task),
        kind=splits.kind,
        parity=lambda: numpy_batches(parity, batch, pad),
        test=lambda: numpy_batches(test, batch, pad),
        truth=np.hstack(rows).reshape(-1).tolist(),
        sentences=Sentences(splits.label_names, list(map(len, rows))) if splits.test.words is not None else None,
    )


def _exported(
    context: Context, staged: Path, folder: str, role: Role, precisions: list[Any]
) -> list[tuple[Entry, AccuracyRecord]]:
    from edgekd.export.onnx import export_onnx
    from edgekd.export.reference import torch_logits
    from edgekd.export.variants import write_variant

    context.progress.update(f"exporting the {role}")
    prepared = _prepared(context, context.path(folder))
    reference = torch_logits(prepared.model, prepared.parity())
    plain = staged / f"{role}-fp32.onnx"
    export_onnx(prepared.model, plain, kind=prepared.kind)
    found = []
    for precision in precisions:
        path = staged / f"{role}-{precision}.onnx"
        if precision != "fp32":
            context.progress.update(f"writing the {role} in {precision}")
            write_variant(plain, path, precision)
        found.append(_proved(context, path, precision, role, prepared, reference))
    if "fp32" not in precisions:
        plain.unlink()
    return found


def _proved(
    context: Context, path: Path, precision: str, role: Role, prepared: _Prepared, reference: Any
) -> tuple[Entry, AccuracyRecord]:
    from edgekd.export.parity import accuracy_record, check_parity, require

    context.progress.update(f"comparing {path.stem} with the trained model")
    limits, several = context.recipe.parity, context.words.labelling == "many"
    result = check_parity(reference, path, prepared.parity(), limits, several=several)
    require(result, precision, limits, name=path.name)
    entry = entry_from_file(path, name=path.stem, precision=precision, role=role, parity=result)
    context.progress.update(f"accuracy of {path.stem} on the test part")
    splits, source = context.splits, data_used(context.recipe.data, context.base).source
    record = accuracy_record(
        path, artifact(entry), prepared.test(), prepared.truth,
        dataset=source, split=splits.test.name, dataset_sha256=splits.test.sha256, several=several,
        sentences=prepared.sentences,
    )  # fmt: skip
    return entry, record
