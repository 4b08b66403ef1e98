"""The manifest: which exported models a run folder holds, how they were made and that they are still the same files.

It says nothing about time, so that a resumed run writes the same manifest. Reading it needs no torch, onnx or numpy.

History of the format
    1.0  ONNX files in fp32 and int8.
"""

from __future__ import annotations

import importlib.metadata
import stat
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from edgekd import __version__
from edgekd.config import Model
from edgekd.errors import InputError, RecordError
from edgekd.export.check import TensorInfo, describe
from edgekd.files import read_json, sha256_of_file, write_json
from edgekd.record import Artifact, Sha256
from edgekd.text import printable

FILE_NAME = "manifest.json"
SCHEMA_VERSION = "1.0"

Role = Literal["student", "teacher", "other"]


class ParityResult(Model):
    """How an exported model's logits differ from the trained model's on `examples` real inputs.

    `absolute` is the largest difference of a logit, `relative` that over the largest reference logit (both without
    sign), `agreement` the share of examples with the same answer (the same largest logit). Of embeddings the numbers
    are those of the vectors, the answer to a text is its nearest other text, and `cosine` is the least cosine between
    the two vectors of a text.
    """

    absolute: Annotated[float, Field(ge=0)]
    relative: Annotated[float, Field(ge=0)]
    agreement: Annotated[float, Field(ge=0, le=1)]
    examples: Annotated[int, Field(ge=1)]
    cosine: Annotated[float, Field(ge=-1, le=1)] | None = None


class Versions(Model):
    """What made the file. 'none' for a library that was not installed."""

    edgekd: str
    torch: str
    transformers: str
    onnx: str
    onnxruntime: str


class Entry(Model):
    """One exported model. `file` lies beside the manifest."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0)]
    format: Literal["onnx"] = "onnx"
    precision: str
    role: Role
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    opset: Annotated[int, Field(ge=1)]
    parity: ParityResult | None = None
    versions: Versions


class Manifest(Model):
    """The exported models of one folder, each name and file once."""

    kind: Literal["manifest"] = "manifest"
    schema_version: Literal["1.0"] = "1.0"
    entries: list[Entry]

    @model_validator(mode="after")
    def _distinct(self) -> Manifest:
        for what, words in (("name", [e.name for e in self.entries]), ("file", [e.file for e in self.entries])):
            twice = next((word for word in words if words.count(word) > 1), None)
            if twice is not None:
                raise ValueError(f"the {what} {twice!r} stands twice")
        return self

    def entry(self, name: str) -> Entry:
        """The entry of that name. Errors: RecordError when there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.entries) or "nothing"
        raise RecordError(f"the manifest has no model {name!r}, only {known}")


def entry_from_file(path: Path, *, name: str, precision: str, role: Role, parity: ParityResult | None = None) -> Entry:
    """The entry for the ONNX file at `path`, as it is now. Errors: as edgekd.export.check.describe."""
    told = describe(path)
    return Entry(
        name=name,
        file=path.name,
        sha256=sha256_of_file(path),
        size_bytes=path.stat().st_size,
        precision=precision,
        role=role,
        inputs=told.inputs,
        outputs=told.outputs,
        opset=told.opset,
        parity=parity,
        versions=installed_versions(),
    )


def installed_versions() -> Versions:
    """The versions of edgekd and of the libraries that make artifacts; nothing is imported for it."""
    return Versions(
        edgekd=__version__,
        torch=_version("torch"),
        transformers=_version("transformers"),
        onnx=_version("onnx"),
        onnxruntime=_version("onnxruntime"),
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Store `manifest` in `folder`, entries by name, whole or not at all; its path."""
    path = folder / FILE_NAME
    table = manifest.model_dump(mode="json")
    table["entries"].sort(key=lambda entry: entry["name"])
    write_json(path, table)
    return path


def read_manifest(folder: Path) -> Manifest:
    """The manifest in `folder`, its files unseen. Errors: InputError when unreadable, RecordError when not valid."""
    path = folder / FILE_NAME
    table = read_json(path)
    if not isinstance(table, dict) or table.get("kind") != "manifest":
        raise RecordError(f"{path}: is not a manifest of edgekd. Make one: edgekd export")
    if table.get("schema_version") != SCHEMA_VERSION:
        found = printable(repr(table.get("schema_version")), 40)
        raise RecordError(f"{path}: has schema_version {found}, this edgekd reads {SCHEMA_VERSION}")
    try:
        return Manifest.model_validate(table)
    except ValidationError as problems:
        first = problems.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise RecordError(
            f"{path}: {place}: {first['msg']} (found {printable(repr(first['input']), 60)}). Export again"
        ) from None


def verify(folder: Path) -> Manifest:
    """The manifest in `folder` after reading every file it lists. Errors: RecordError naming a file that differs."""
    manifest = read_manifest(folder)
    for entry in manifest.entries:
        _require_same(folder / entry.file, entry)
    return manifest


def _require_same(path: Path, entry: Entry) -> None:
    try:
        state = path.lstat()
    except OSError as error:
        raise RecordError(f"{path}: in the manifest, but cannot be read ({error.strerror}). Export again") from None
    if not stat.S_ISREG(state.st_mode):
        raise RecordError(f"{path}: in the manifest, but is no regular file. Export again")
    if state.st_size != entry.size_bytes:
        raise RecordError(f"{path}: has {state.st_size} bytes, the manifest says {entry.size_bytes}. Export again")
    try:
        found = sha256_of_file(path)
    except InputError as error:
        raise RecordError(f"{error}, though the manifest lists it. Export again") from None
    if found != entry.sha256:
        raise RecordError(f"{path}: has SHA-256 {found[:12]}…, the manifest says {entry.sha256[:12]}…. Export again")


def artifact(entry: Entry) -> Artifact:
    """`entry` as records name it."""
    return Artifact(
        name=entry.name, sha256=entry.sha256, size_bytes=entry.size_bytes, precision=entry.precision, role=entry.role
    )
