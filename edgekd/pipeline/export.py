"""The step export: student and teacher as ONNX, proof that they still say the same, and how often they are right."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekd.export.manifest import Entry, Manifest, artifact, entry_from_file, write_manifest
from edgekd.files import make_folder
from edgekd.pipeline.context import ARTIFACTS, RECORDS, STUDENT, TEACHER, Context, Done, data_used
from edgekd.pipeline.saved import read_preprocessing, read_trained
from edgekd.record import AccuracyRecord, write_record
from edgekd.task import perplexity_text
from edgekd.units import text_from_bytes

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
    truth = _teachers_truth(context)
    exported = [
        *_exported(context, staged, TEACHER, "teacher", ["fp32"], truth),
        *_exported(context, staged, STUDENT, "student", context.recipe.precisions, truth),
    ]
    write_manifest(Manifest(entries=[entry for entry, _ in exported]), staged)
    shutil.rmtree(context.path(ARTIFACTS), ignore_errors=True)
    staged.rename(context.path(ARTIFACTS))
    paths = []
    for entry, record in exported:
        paths.append(records / f"accuracy-{entry.name}.json")
        write_record(record, paths[-1])
    found = [f"{entry.name} {text_from_bytes(entry.size_bytes)} {_quality(record)}" for entry, record in exported]
    return Done((context.path(ARTIFACTS), *paths), "; ".join(found))


def _quality(record: AccuracyRecord) -> str:
    if record.losses is not None:
        return f"perplexity {perplexity_text(record.losses.perplexity)}"
    return record.words.text(record.accuracy, 2)


@dataclass(frozen=True)
class _Prepared:
    """A trained model, with real inputs in the batches that the device will see, and the `truth` about the test
    part.
    """

    model: Any
    kind: Literal["text", "image"]
    parity: Callable[[], Iterator[Mapping[str, Any]]]
    test: Callable[[], Iterator[Mapping[str, Any]]]
    truth: list[int] = field(default_factory=list)
    sentences: Sentences | None = None


def _prepared(context: Context, folder: Path) -> _Prepared:
    import numpy as np

    from edgekd.data.encode import encode, load_tokenizer, numpy_batches
    from edgekd.export.parity import Sentences
    from edgekd.students.padding import padding_token

    if context.words.head == "language":
        return _prepared_language(context, folder)

    splits, batch = context.splits, context.recipe.bench.batch
    preprocessing = read_preprocessing(folder)
    tokenizer = load_tokenizer(folder) if splits.kind == "text" else None
    model = read_trained(folder, splits.label_names, context.recipe.task)
    pad = padding_token(model.config, tokenizer) or 0
    shown = splits.validation.subset(list(range(min(context.recipe.parity.examples, len(splits.validation)))))
    parity, test = encode(shown, preprocessing, tokenizer), encode(splits.test, preprocessing, tokenizer)
    rows = [np.asarray(labels) for labels in test.with_format(None)["labels"]]
    # int8 activations are scaled over the whole batch, so accuracy is that of the batches the device will see.
    return _Prepared(
        model=model,
        kind=splits.kind,
        parity=lambda: numpy_batches(parity, batch, pad),
        test=lambda: numpy_batches(test, batch, pad),
        truth=np.hstack(rows).reshape(-1).tolist(),
        sentences=Sentences(splits.label_names, list(map(len, rows))) if splits.test.words is not None else None,
    )


def _teachers_truth(context: Context) -> Any:
    """What the trained teacher makes of the test part where answers are judged by that: its embeddings; else None."""
    if context.words.head != "none":
        return None
    from edgekd.export.reference import torch_logits

    context.progress.update("asking the teacher about the test part")
    teacher = _prepared(context, context.path(TEACHER))
    return torch_logits(teacher.model, teacher.test())


def _prepared_language(context: Context, folder: Path) -> _Prepared:
    """As _prepared; parity is looked at on as many blocks as hold parity.examples tokens."""
    from edgekd.data.blocks import blocks
    from edgekd.data.encode import load_tokenizer
    from edgekd.export.language import token_batches

    splits, batch = context.splits, context.recipe.bench.batch
    preprocessing, tokenizer = read_preprocessing(folder), load_tokenizer(folder)
    shown, test = (blocks(part, preprocessing, tokenizer) for part in (splits.validation, splits.test))
    rows = -(-context.recipe.parity.examples // preprocessing.max_length)
    return _Prepared(
        model=read_trained(folder, splits.label_names, context.recipe.task),
        kind="text",
        parity=lambda: token_batches(shown, batch, rows),
        test=lambda: token_batches(test, batch),
    )


def _exported(
    context: Context, staged: Path, folder: str, role: Role, precisions: list[Any], truth: Any
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
        found.append(_proved(context, path, precision, role, prepared, reference, truth))
    if "fp32" not in precisions:
        plain.unlink()
    return found


def _proved(
    context: Context, path: Path, precision: str, role: Role, prepared: _Prepared, reference: Any, truth: Any
) -> tuple[Entry, AccuracyRecord]:
    from edgekd.export.embeddings import embedding_record
    from edgekd.export.language import language_record
    from edgekd.export.parity import accuracy_record, check_parity, require

    context.progress.update(f"comparing {path.stem} with the trained model")
    limits, several = context.recipe.parity, context.words.labelling == "many"
    result = check_parity(reference, path, prepared.parity(), limits, several=several)
    require(result, precision, limits, name=path.name)
    entry = entry_from_file(path, name=path.stem, precision=precision, role=role, parity=result)
    context.progress.update(f"accuracy of {path.stem} on the test part")
    test, source = context.splits.test, data_used(context.recipe.data, context.base).source
    made, batches = artifact(entry), prepared.test()
    told: dict[str, Any] = {"dataset": source, "split": test.name, "dataset_sha256": test.sha256}
    if context.words.head == "language":
        return entry, language_record(path, made, batches, **told)
    if truth is not None:
        return entry, embedding_record(path, made, batches, truth, **told)
    return entry, accuracy_record(
        path, made, batches, prepared.truth, task=context.recipe.task, sentences=prepared.sentences, **told
    )
