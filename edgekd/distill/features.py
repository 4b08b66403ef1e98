"""Losses on what student and teacher compute inside: the teacher at work beside the student, or what it left on disk.

The teacher is in evaluation mode, without gradients, and no part of the student: no checkpoint or optimiser sees it.
Projectors from the student's width to the teacher's are a part of the student while it is trained, so that they are
optimised, saved in checkpoints and restored with it; then they are taken off again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from edgekd.distill.capture import Captured, capturable, capturing, layers_of
from edgekd.distill.collate import model_inputs
from edgekd.distill.feature_cache import StoredFeatures, Wanted
from edgekd.distill.losses.features import by_example, check_pairs, hidden_state_loss, spread_pairs
from edgekd.distill.losses.relations import relation_loss
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.schedule import ends_at, level_at
from edgekd.distill.settings import HiddenTerm, Pairs, RelationsTerm, TrainingSettings
from edgekd.errors import InputError

PROJECTORS = "edgekd_projectors"
EMBEDDING_PROJECTOR = "edgekd_embedding_projector"


class FeatureTeacher:
    """The teacher and which of its features the student has to match.

    `hidden_pairs` and `relation_pairs` are layers of the student and of the teacher, counted from 0. With `stored`
    features of these the teacher is not asked any more.
    Errors: InputError for layers that one of them does not have.
    """

    def __init__(
        self,
        teacher: Any,
        student: Any,
        hidden: HiddenTerm | None = None,
        relations: RelationsTerm | None = None,
        stored: StoredFeatures | None = None,
    ) -> None:
        self.teacher, self.student, self.stored = teacher, student, stored
        self.hidden, self.relations = hidden, relations
        sizes = len(layers_of(student)), len(layers_of(teacher))
        self.hidden_pairs, self.relation_pairs = feature_pairs(hidden, relations, *sizes)
        self.wanted = wanted_of(self.hidden_pairs, self.relation_pairs)

    @contextmanager
    def watching(self, step: int, steps: int) -> Iterator[Captured]:
        """Inside: one forward pass of the student leaves in the answer what `loss` needs of it at this step."""
        if self._counts(step, steps):
            with self._capturing(self.student, 0) as seen:
                yield seen
        else:
            yield Captured()

    def loss(
        self, seen: Captured, batch: Mapping[str, Any], step: int, steps: int, normaliser: Normaliser
    ) -> torch.Tensor:
        """The weighted sum of the losses for the examples of `batch`, after `step` of `steps` steps.

        Every example counts 1, however long it is, and the sum is divided by `normaliser` (else by the examples). While
        all weights are 0 the teacher is not asked.
        """
        projectors = getattr(self.student, PROJECTORS, None)
        total = torch.zeros(())
        if not self._counts(step, steps):
            # Projectors get a gradient all the same, of 0: DistributedDataParallel waits for one.
            for weight in projectors.parameters() if projectors is not None else ():
                total = total + 0 * weight.sum()
            return total
        its = self._asked(batch)
        tokens = batch.get("attention_mask")
        example = next(iter(its.hidden.values()), None)
        if example is None:
            example = next(iter(its.attention.values()))[0][:, 0]
        mask = by_example(example.new_ones(example.shape[:2]) if tokens is None else tokens)
        normaliser = len(mask) if normaliser is None else normaliser
        for ours, theirs in self.hidden_pairs:
            projector = None if projectors is None else projectors[str(ours)]
            found = hidden_state_loss(seen.hidden[ours], its.hidden[theirs], normaliser, mask=mask, projector=projector)
            total = total + self._weight(self.hidden, step, steps) / len(self.hidden_pairs) * found
        for ours, theirs in self.relation_pairs:
            found = relation_loss(seen.attention[ours], its.attention[theirs], self._heads, normaliser, mask=mask)
            total = total + self._weight(self.relations, step, steps) / len(self.relation_pairs) * found
        return total

    def _asked(self, batch: Mapping[str, Any]) -> Captured:
        if self.stored is not None:
            return self.stored.of(batch, self.wanted)
        inputs = model_inputs(batch)
        device = next(value.device for value in inputs.values() if isinstance(value, torch.Tensor))
        if next(self.teacher.parameters()).device != device:
            self.teacher.to(device)
        # Without its head: nothing of the answers is needed.
        with torch.no_grad(), self._capturing(self.teacher, 1) as its:
            self.teacher.base_model(**inputs)
        return its

    @contextmanager
    def _capturing(self, model: Any, which: int) -> Iterator[Captured]:
        hidden, attention = ({pair[which] for pair in pairs} for pairs in (self.hidden_pairs, self.relation_pairs))
        with capturing(model, hidden=hidden, attention=attention) as captured:
            yield captured

    @property
    def _heads(self) -> int:
        return 1 if self.relations is None else self.relations.heads

    def _counts(self, step: int, steps: int) -> bool:
        return any(self._weight(term, step, steps) > 0 for term in (self.hidden, self.relations))

    @staticmethod
    def _weight(term: HiddenTerm | RelationsTerm | None, step: int, steps: int) -> float:
        return 0.0 if term is None else level_at(term.weight, step, steps)


def feature_pairs(
    hidden: HiddenTerm | None, relations: RelationsTerm | None, student_layers: int, teacher_layers: int
) -> tuple[Pairs, Pairs]:
    """The layers whose hidden states, and those whose relations are to match, of a student of so many layers.

    Errors: InputError for layers that one of the two does not have.
    """
    sizes = (student_layers, teacher_layers)
    states: Pairs = ()
    related: Pairs = ()
    if hidden is not None:
        states = tuple(spread_pairs(*sizes)) if hidden.layers is None else hidden.layers
    if relations is not None:
        related = ((sizes[0] - 1, sizes[1] - 1),) if relations.layers is None else relations.layers
    for pairs in (states, related):
        check_pairs(pairs, *sizes)
    return states, related


def wanted_of(hidden: Pairs, relations: Pairs) -> Wanted:
    """What of the teacher is needed for these pairs."""
    return Wanted(tuple(its for _, its in hidden), tuple(its for _, its in relations))


def passes_of(settings: TrainingSettings) -> float:
    """Over how many epochs the teacher's features are looked at: those before every weight has fallen to 0."""
    weights = [term.weight for term in (settings.hidden, settings.relations) if term is not None]
    return settings.epochs * max((ends_at(weight) for weight in weights), default=0.0)


@contextmanager
def feature_teacher(
    teacher: Any, student: Any, settings: TrainingSettings, stored: StoredFeatures | None = None
) -> Iterator[FeatureTeacher | None]:
    """Inside: a FeatureTeacher where `settings` ask for features, else None. After: both models as they were.

    Only the teacher stays in evaluation mode.
    Errors: InputError when it is asked for and there is no teacher, or for layers or heads that do not go together.
    """
    if not settings.features:
        yield None
        return
    if teacher is None:
        raise InputError(
            "training: the settings ask for hidden states or relations of the teacher and no teacher is given; "
            "give one, or leave hidden and relations out"
        )
    found = FeatureTeacher(teacher, student, settings.hidden, settings.relations, stored)
    if settings.relations is not None:
        _check_heads(settings.relations.heads, student, teacher)
    device = next(teacher.parameters()).device
    with ExitStack() as around:
        if found.relation_pairs:
            for model in (student, teacher) if stored is None else (student,):
                around.enter_context(capturable(model))
        around.enter_context(_projected(student, teacher, found.hidden_pairs))
        teacher.eval()
        around.callback(teacher.to, device)
        yield found


@contextmanager
def _projected(student: Any, teacher: Any, pairs: Pairs) -> Iterator[None]:
    """Inside: a projector on the student for each layer of `pairs`, where its width is not the teacher's."""
    ours, its = student.config.hidden_size, teacher.config.hidden_size
    if not pairs or ours == its:
        yield
        return
    device = next(student.parameters()).device
    student.add_module(
        PROJECTORS, nn.ModuleDict({str(layer): projector_between(ours, its).to(device) for layer, _ in pairs})
    )
    try:
        yield
    finally:
        delattr(student, PROJECTORS)


def projector_between(ours: int, its: int) -> nn.Linear:
    """From `ours` channels to `its`: at first each of ours stands for the one of its teacher that it was copied from.

    That is a student whose channels were cut out evenly spaced (see edgekd.students.initialise); for any other it is
    just a start. Nothing of it is random. Our choice.
    """
    layer = nn.Linear(ours, its)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        for channel in range(ours):
            layer.weight[channel * its // ours, channel] = 1
    return layer


def _check_heads(heads: int, student: Any, teacher: Any) -> None:
    """Refuse relation heads that do not divide what queries, keys and values of both are wide."""
    for who, config in (("student", student.config), ("teacher", teacher.config)):
        queries = config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // queries
        for count in (queries, getattr(config, "num_key_value_heads", None) or queries):
            if (count * head_dim) % heads:
                raise InputError(
                    f"distill.relations.heads is {heads}, and the {who} has {count} heads of width {head_dim}; "
                    f"expected a number that divides {count * head_dim} in student and teacher alike"
                )
