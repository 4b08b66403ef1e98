"""The untrained students that a calibration may measure: all of a recipe's space, or a grid of a usual family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekd.cost.count import count
from edgekd.cost.limits import check_within
from edgekd.cost.operators import operators
from edgekd.cost.terms import latency_terms
from edgekd.errors import InputError, SpecError
from edgekd.recipe import Recipe, Space, builtin_recipes, load_recipe
from edgekd.student import StudentSpec
from edgekd.text import did_you_mean, listing

if TYPE_CHECKING:
    from edgekd.export.template import GraphTemplate

DEFAULT_SEQUENCES = (64,)
MOST_STUDENTS = 4000  # our choice: a design among more than these takes seconds and is no better
# Usual small models of each family, up to which a grid is laid: our choice.
FAMILIES = {
    "bert": StudentSpec(
        architecture="bert", layers=8, hidden=768, heads=12, ffn=3072, vocabulary=30522, positions=512, token_types=2,
        labels=2,
    ),
    "roberta": StudentSpec(
        architecture="roberta", layers=8, hidden=768, heads=12, ffn=3072, vocabulary=50265, positions=514,
        token_types=1, labels=2,
    ),
    "vit": StudentSpec(
        architecture="vit", layers=8, hidden=384, heads=6, ffn=1536, labels=10, image_size=64, patch_size=8, channels=3
    ),
    "gpt2": StudentSpec(
        architecture="gpt2", layers=8, hidden=768, heads=12, ffn=3072, vocabulary=50257, positions=1024, labels=2
    ),
    "llama": StudentSpec(
        architecture="llama", layers=8, hidden=768, heads=12, kv_heads=12, ffn=2048, vocabulary=32000, positions=1024,
        labels=2,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """Whose students are measured: the teacher, its configuration when it has one, the space, the lengths of inputs."""

    spec: StudentSpec
    config: Any
    space: Space
    sequences: tuple[int, ...]


def reference_of(like: str, base: Path, sequences: Sequence[int] = ()) -> Reference:
    """What `like` names: a family, or a recipe, whose teacher's configuration is read.

    Errors: InputError, RecipeError, SpecError.
    """
    if like in FAMILIES:
        spec = FAMILIES[like]
        step = spec.head_dim
        hidden = list(range(2 * step, spec.hidden + 1, step))
        space = Space(
            layers=list(range(1, spec.layers + 1)), hidden=hidden, ffn_ratio=[1.0, 2.0, 3.0, 4.0], min_share=0.0
        )
        return Reference(spec, None, space, _lengths(spec, sequences or DEFAULT_SEQUENCES))
    if "/" not in like and "." not in like and like not in builtin_recipes():
        known = [*FAMILIES, *builtin_recipes()]
        raise InputError(
            f"--like {like}: no such family or recipe, expected one of {listing(known)}.{did_you_mean(like, known)}"
        )
    recipe = load_recipe(like)
    spec, config = _teacher_of(recipe, base)
    return Reference(spec, config, recipe.space, _lengths(spec, sequences or (recipe.sequence,)))


def _lengths(spec: StudentSpec, sequences: Sequence[int]) -> tuple[int, ...]:
    if spec.tokens:
        return (0,)
    for length in sequences:
        operators(spec, batch=1, sequence=length)  # refuses what the model cannot take
    return tuple(sorted(set(sequences)))


def _teacher_of(recipe: Recipe, base: Path) -> tuple[StudentSpec, Any]:
    from edgekd.students.families import spec_from_config
    from edgekd.students.locate import locate_model
    from edgekd.students.source import load_config

    shape = recipe.teacher.architecture
    if shape is not None:
        raise InputError(
            f"--like {recipe.name}: its teacher is built for its data; run edgekd teacher first and name its folder as "
            "teacher.model, or calibrate a family: --like vit"
        )
    config = load_config(locate_model(recipe.teacher.model or "", base))
    if recipe.data.labels is not None:
        config.num_labels = len(recipe.data.labels)
    return spec_from_config(config), config


@dataclass
class Pool:
    """The candidates, by name: ID-PRECISION, and @LENGTH behind it for texts."""

    reference: Reference
    precisions: tuple[Literal["fp32", "int8"], ...]
    batch: int
    _specs: list[StudentSpec] = field(init=False)
    _templates: dict[str, GraphTemplate] = field(init=False, default_factory=dict)
    _by_name: dict[str, tuple[StudentSpec, Literal["fp32", "int8"], int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        from edgekd.sizing.grid import Grid
        from edgekd.sizing.space import enumerate_students

        found = enumerate_students(Grid(self.reference.space, self.reference.spec, self.reference.sequences[0]))
        each = max(1, MOST_STUDENTS // len(self.reference.sequences))
        step = -(-len(found) // each)
        self._specs = [found.specs.spec(row) for row in range(0, len(found), step)]

    @property
    def students(self) -> list[StudentSpec]:
        """All that may be measured; evenly thinned where there are very many."""
        return self._specs

    @property
    def vocabulary(self) -> int:
        """Token ids of the teacher; 0 for images."""
        return self.reference.spec.vocabulary

    def designed(self, precision: Literal["fp32", "int8"], number: int) -> list[str]:
        """The names of `number` students to measure in `precision`, the first ones alone a good choice already."""
        import numpy as np

        from edgekd.cost.columns import SpecColumns, count_columns
        from edgekd.cost.design import designed

        columns = SpecColumns.of(self._specs, self.reference.spec)
        tables = [
            count_columns(columns, (precision,), batch=self.batch, sequence=length).terms
            for length in self.reference.sequences
        ]
        joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        found = []
        for position in designed(joined, number):
            spec = self._specs[position % len(self._specs)]
            length = self.reference.sequences[position // len(self._specs)]
            found.append(self.add(spec, precision, length))
        return found

    def add(self, spec: StudentSpec, precision: Literal["fp32", "int8"], length: int) -> str:
        """The name of that candidate, known from now on. Errors: SpecError for one outside the teacher."""
        if spec.architecture != self.reference.spec.architecture:
            raise SpecError(f"{spec.name} is no {self.reference.spec.architecture}")
        check_within(spec, self.reference.spec)
        name = f"{spec.name}-{precision}" + ("" if spec.tokens else f"@{length}")
        self._by_name[name] = (spec, precision, length)
        return name

    def known(self, name: str) -> tuple[StudentSpec, int]:
        """The spec of the candidate `name` and the length of its inputs."""
        spec, _, length = self._by_name[name]
        return spec, length

    def precision(self, name: str) -> Literal["fp32", "int8"]:
        """The precision of the candidate `name`."""
        return self._by_name[name][1]

    def features(self, name: str) -> dict[str, float]:
        """The terms of its latency, and the bytes that its memory follows from."""
        spec, precision, length = self._by_name[name]
        shape = {"batch": self.batch, "sequence": length}
        counts = count(spec, **shape, precision=precision)
        terms = {term: float(value) for term, value in latency_terms(operators(spec, **shape)).items()}
        bytes_ = {"weight_bytes": counts.weight_bytes, "peak_activation_bytes": counts.peak_activation_bytes}
        return terms | {term: float(value) for term, value in bytes_.items()}

    def dims(self, name: str) -> Mapping[str, int]:
        """The sizes of its free dimensions."""
        return {"batch": self.batch, "sequence": self._by_name[name][2]}

    def written(self, name: str, folder: Path) -> Path:
        """Its ONNX file in `folder`, made when it is not there. Errors: ExportError."""
        from edgekd.export.template import learn
        from edgekd.students.build import build

        spec, precision, _ = self._by_name[name]
        path = folder / f"{spec.name}-{precision}.onnx"
        if path.exists():
            return path
        if precision not in self._templates:
            kind: Literal["image", "text"] = "image" if spec.family == "vit" else "text"
            config = self.reference.config
            self._templates[precision] = learn(
                self.reference.spec, lambda one: build(one, config, seed=0), kind=kind, precision=precision
            )
        self._templates[precision].write(spec, path)
        return path
