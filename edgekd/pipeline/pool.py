"""The untrained students that a calibration may measure: all of a recipe's space, or a grid of a usual family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.cost.count import activation_sum, mac_sums, peak_sum, weight_sum
from edgekd.cost.limits import check_within
from edgekd.cost.operators import operators
from edgekd.cost.tails import TAILS, has_tails, tails
from edgekd.cost.terms import OF_CACHES, blocked_terms, latency_terms, of_cache
from edgekd.errors import InputError, SpecError
from edgekd.networks.spec import Spec
from edgekd.pipeline.usual import (
    CONVOLUTIONAL,
    FAMILIES,
    Phase,
    convolutional,
    language_model,
    usual_space,
)
from edgekd.pooling import set_pooling
from edgekd.recipe import Recipe, builtin_recipes, load_recipe
from edgekd.space import Space
from edgekd.student import Precision, StudentSpec
from edgekd.task import TASKS
from edgekd.text import did_you_mean, listing

if TYPE_CHECKING:
    from edgekd.cost.trace import Operator
    from edgekd.export.template import GraphTemplate, Kind

DEFAULT_SEQUENCES = (64,)
MOST_STUDENTS = 4000  # our choice: a design among more than these takes seconds and is no better
LANGUAGE_MODELS = ("gpt2", "llama")


@dataclass(frozen=True)
class Reference:
    """Whose students are measured: the teacher, its configuration when it has one, the space, the lengths of inputs.

    A convolutional network has no space; its students are those of usual.convolutional. In the `phase` decode a length
    counts the tokens in the cache.
    """

    spec: Spec
    config: Any
    space: Space | None
    sequences: tuple[int, ...]
    phase: Phase = "whole"


def reference_of(like: str, base: Path, sequences: Sequence[int] = (), phase: Phase = "whole") -> Reference:
    """What `like` names: a family, or a recipe, whose teacher's configuration is read.

    Errors: InputError, RecipeError, SpecError.
    """
    if phase != "whole":
        if like not in LANGUAGE_MODELS:
            raise InputError(
                f"--phase {phase}: only language models have one, expected --like {listing(LANGUAGE_MODELS)}"
            )
        spec = language_model(like)
        return Reference(spec, None, usual_space(spec), _lengths(spec, sequences or DEFAULT_SEQUENCES, phase), phase)
    if like in CONVOLUTIONAL:
        if sequences:
            raise InputError(f"--sequence {sequences[0]}: a {like} reads images, which have no length; remove it")
        return Reference(convolutional(like)[-1], None, None, (0,))
    if like in FAMILIES:
        spec = FAMILIES[like]
        return Reference(spec, None, usual_space(spec), _lengths(spec, sequences or DEFAULT_SEQUENCES))
    if "/" not in like and "." not in like and like not in builtin_recipes():
        known = [*FAMILIES, *CONVOLUTIONAL, *builtin_recipes()]
        raise InputError(
            f"--like {like}: no such family or recipe, expected one of {listing(known)}.{did_you_mean(like, known)}"
        )
    recipe = load_recipe(like)
    spec, config = _teacher_of(recipe, base)
    return Reference(spec, config, recipe.space, _lengths(spec, sequences or (recipe.sequence,)))


def _lengths(spec: StudentSpec, sequences: Sequence[int], phase: Phase = "whole") -> tuple[int, ...]:
    if spec.tokens:
        return (0,)
    for length in sequences:
        traced(spec, phase, batch=1, length=length)  # refuses what the model cannot take
    return tuple(sorted(set(sequences)))


def traced(spec: Spec, phase: Phase, *, batch: int, length: int) -> list[Operator]:
    """The operators of one inference. Errors: SpecError for what `spec` cannot take.

    Shapes: `length` tokens per input, in the phase decode those in the cache before one token more. A prompt that is
    read leaves the logits of its last position only.
    """
    if phase == "decode":
        return operators(spec, batch=batch, sequence=1, past=length)
    trace = operators(spec, batch=batch, sequence=length)
    if phase == "whole":
        return trace
    return [_of_last(op, length) if op.group == "head" and op.kind == "linear" else op for op in trace]


def _of_last(op: Operator, length: int) -> Operator:
    return op._replace(
        macs=op.macs // length, elements=op.elements // length, input_elements=op.input_elements // length
    )


def _teacher_of(recipe: Recipe, base: Path) -> tuple[StudentSpec, Any]:
    from edgekd.students.families import spec_from_config
    from edgekd.students.locate import locate_model
    from edgekd.students.sentence import pooling_for
    from edgekd.students.source import load_config

    shape = recipe.teacher.architecture
    if shape is not None:
        raise InputError(
            f"--like {recipe.name}: its teacher is built for its data; run edgekd teacher first and name its folder as "
            "teacher.model, or calibrate a family: --like vit"
        )
    located = locate_model(recipe.teacher.model or "", base)
    config, teacher = load_config(located), recipe.teacher
    if TASKS[recipe.task].head == "none":
        set_pooling(config, pooling_for(located, config, mode=teacher.pooling, normalised=teacher.normalised))
    if recipe.data.labels is not None:
        config.num_labels = len(recipe.data.labels)
    return spec_from_config(config, head=TASKS[recipe.task].head), config


@dataclass
class Pool:
    """The candidates, by name: ID-PRECISION, and @LENGTH behind it for texts."""

    reference: Reference
    precisions: tuple[Precision, ...]
    batch: int
    _specs: list[Spec] = field(init=False)
    _templates: dict[str, GraphTemplate] = field(init=False, default_factory=dict)
    _by_name: dict[str, tuple[Spec, Precision, int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        from edgekd.sizing.grid import Grid
        from edgekd.sizing.space import enumerate_students

        teacher, space = self.reference.spec, self.reference.space
        if not isinstance(teacher, StudentSpec) or space is None:
            other = next((precision for precision in self.precisions if precision != "fp32"), None)
            if other is not None:
                raise InputError(
                    f"--precision {other}: a {teacher.architecture} is measured in fp32 alone, for int8 and int4 leave "
                    "convolutions as they are. Say --precision fp32"
                )
            self._specs = convolutional(teacher.architecture)
            return
        found = enumerate_students(Grid(space, teacher, self.reference.sequences[0]))
        each = max(1, MOST_STUDENTS // len(self.reference.sequences))
        step = -(-len(found) // each)
        self._specs = [found.specs.spec(row) for row in range(0, len(found), step)]

    @property
    def students(self) -> list[Spec]:
        """All that may be measured; evenly thinned where there are very many."""
        return self._specs

    @property
    def vocabulary(self) -> int:
        """Token ids of the teacher; 0 for images."""
        return getattr(self.reference.spec, "vocabulary", 0)

    def designed(self, precision: Precision, number: int) -> list[str]:
        """The names of `number` students to measure in `precision`, the first ones alone a good choice already."""
        import numpy as np

        from edgekd.cost.design import designed

        tables = [self._terms(length) for length in self.reference.sequences]
        joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        found = []
        for position in designed(joined, number):
            spec = self._specs[position % len(self._specs)]
            length = self.reference.sequences[position // len(self._specs)]
            found.append(self.add(spec, precision, length))
        return found

    def _terms(self, length: int) -> dict[str, Any]:
        """The terms of all students at that length, as columns."""
        import numpy as np

        from edgekd.cost.columns import SpecColumns, count_columns

        teacher, phase = self.reference.spec, self.reference.phase
        specs = [spec for spec in self._specs if isinstance(spec, StudentSpec)]
        if not isinstance(teacher, StudentSpec) or len(specs) < len(self._specs):
            each = [latency_terms(traced(spec, phase, batch=self.batch, length=length)) for spec in self._specs]
            return {name: np.array([terms[name] for terms in each], np.float64) for name in each[0]}
        shape = {"sequence": 1, "past": length} if phase == "decode" else {"sequence": length}
        columns = SpecColumns.of(specs, teacher)
        terms = dict(count_columns(columns, self.precisions[:1], batch=self.batch, **shape).terms)
        if phase == "prefill":
            terms["macs.head"] = terms["macs.head"] / length
            terms |= {name: of_cache(name, terms) for name in OF_CACHES}
        return terms

    def add(self, spec: Spec, precision: Precision, length: int) -> str:
        """The name of that candidate, known from now on. Errors: SpecError for one outside the teacher."""
        teacher = self.reference.spec
        if spec.architecture != teacher.architecture:
            raise SpecError(f"{spec.name} is no {teacher.architecture}")
        if isinstance(spec, StudentSpec) and isinstance(teacher, StudentSpec):
            check_within(spec, teacher)
        name = f"{spec.name}-{precision}" + ("" if spec.tokens else f"@{length}")
        self._by_name[name] = (spec, precision, length)
        return name

    def known(self, name: str) -> tuple[Spec, int]:
        """The spec of the candidate `name` and the length of its inputs."""
        spec, _, length = self._by_name[name]
        return spec, length

    def precision(self, name: str) -> Precision:
        """The precision of the candidate `name`."""
        return self._by_name[name][1]

    def features(self, name: str) -> dict[str, float]:
        """The terms of its latency, and the MACs and bytes that its memory and its energy follow from."""
        spec, precision, length = self._by_name[name]
        trace = traced(spec, self.reference.phase, batch=self.batch, length=length)
        found = latency_terms(trace) | blocked_terms(trace)
        if has_tails(precision):
            found[TAILS] = tails(trace)
        found |= {
            "macs": sum(mac_sums(trace).values()),
            "weight_bytes": weight_sum(trace, precision),
            "activation_bytes": activation_sum(trace, precision),
            "peak_activation_bytes": peak_sum(trace, precision),
        }
        return {term: float(value) for term, value in found.items()}

    def dims(self, name: str) -> Mapping[str, int]:
        """The sizes of its free dimensions."""
        length = self._by_name[name][2]
        return {"batch": self.batch, "sequence": length, "past": length}

    def written(self, name: str, folder: Path) -> Path:
        """Its ONNX file in `folder`, made when it is not there. Errors: ExportError."""
        from edgekd.export.untrained import export_untrained
        from edgekd.students.build import build

        spec, precision, _ = self._by_name[name]
        path = folder / f"{spec.name}-{precision}.onnx"
        if path.exists():
            return path
        if not isinstance(spec, StudentSpec):
            export_untrained(build(spec, None, seed=0), path, kind="image")
            return path
        self._template(precision).write(spec, path)
        return path

    def _template(self, precision: str) -> GraphTemplate:
        from edgekd.export.template import learn
        from edgekd.students.build import build

        teacher, config = self.reference.spec, self.reference.config
        assert isinstance(teacher, StudentSpec)  # noqa: S101  others are exported one by one
        if precision not in self._templates:
            phase = self.reference.phase
            kind: Kind = ("image" if teacher.family == "vit" else "text") if phase == "whole" else phase
            self._templates[precision] = learn(
                teacher, lambda one: build(one, config, seed=0), kind=kind, precision=precision
            )
        return self._templates[precision]
