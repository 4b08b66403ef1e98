"""A student that starts from its teacher: some of the layers, and in them some channels, heads and neurons.

Depth copies whole layers. Width keeps channels of the residual stream (the same in every layer, because all layers add
to it), heads and feed-forward neurons, chosen evenly, by their weights or by what they do on real inputs; or it rotates
the stream first, where norms allow that.
Source: Xu et al. 2024, Initializing Models with Larger Ones, arXiv:2311.18823 (uniform selection); Sanh et al. 2019,
DistilBERT, arXiv:1910.01108 (layer copies); the modules beside this one for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from edgekd.cost.limits import check_within
from edgekd.errors import DataError, SpecError
from edgekd.student import StudentSpec
from edgekd.students.choose import (
    Kept,
    checked_layers,
    even_layers,
    keep_best,
    keep_evenly,
    scores_of_importance,
    scores_of_magnitude,
)
from edgekd.students.gain import Target, calibrate_norms
from edgekd.students.heads import scale_queries, turn_heads
from edgekd.students.importance import Batch, Importance, measure_importance
from edgekd.students.rotation import bias_through, fold_norms, head_of, principal_directions, stream_moment
from edgekd.students.weights import (
    Axis,
    Roles,
    Weights,
    axes_of,
    in_layer,
    layer_of,
    norm_names,
    read_weights,
    roles_of,
    spec_of,
    write_weights,
)

Method = Literal["random", "uniform", "magnitude", "importance", "gates", "rotation"]
METHODS: tuple[Method, ...] = get_args(Method)
ON_INPUTS: tuple[Method, ...] = ("importance", "gates", "rotation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialisation:
    """What of the teacher a student started from: for each of its layers, channels, heads and neurons the teacher's.

    `heads`, `kv_heads` and `neurons` hold a list for each layer. `channels` are none after a rotation, of which
    `kept_energy` is the share of the stream's second moment that its directions hold. `head_rows` are the rows that
    each head kept, of turned heads their leading ones. `tokens` were looked at. `copied_parameters` counts the weights
    that were written: all of them, or none for a random start.
    """

    method: Method
    layer_map: list[int]
    channels: list[int]
    heads: list[list[int]]
    kv_heads: list[list[int]]
    neurons: list[list[int]]
    head_rows: list[int]
    copied_parameters: int
    kept_energy: float | None = None
    tokens: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def methods_for(architecture: str) -> tuple[Method, ...]:
    """The methods that can start a student of `architecture`: all but a rotation where norms forbid it."""
    return tuple(method for method in METHODS if method != "rotation" or architecture not in ("bert", "roberta"))


def initialise(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    method: Method = "uniform",
    *,
    layers: Sequence[int] | None = None,
    batches: Sequence[Batch] = (),
    importance: Importance | None = None,
    gates: torch.Tensor | None = None,
) -> Initialisation:
    """Overwrite the weights of `student` by those it takes from `teacher`, and say which.

    `layers` are the teacher's that it copies, evenly spaced by default. The methods `importance`, `gates` and
    `rotation` look at the teacher on `batches` of inputs (its `importance` on them, where that is known already) and
    calibrate the norms on them. `gates` [layers, heads] says what heads are worth to the method of that name, which is
    `importance` in all else (see edgekd.students.gates). With any method but `random` a student of the teacher's size
    becomes its copy.
    Errors: SpecError when the student is outside the teacher's limits or computes with other options, or when the
    teacher is an encoder-decoder or does not allow the method; DataError when the method needs inputs and has none.
    """
    own, spec = spec_of(student), spec_of(teacher)
    if spec.family == "encoder-decoder":
        raise SpecError(f"a student cannot be cut out of a {spec.architecture} yet; build it untrained instead")
    if method not in METHODS:
        raise SpecError(f"initialisation: found the method {method!r}, expected one of {', '.join(METHODS)}")
    check_within(own, spec)
    _check_options(student.config, teacher.config)
    if method == "random":
        return Initialisation(method=method, layer_map=[], channels=[], heads=[], kv_heads=[], neurons=[], head_rows=[],
                              copied_parameters=0)  # fmt: skip
    chosen = checked_layers(even_layers(spec.layers, own.layers) if layers is None else layers, spec.layers, own.layers)
    scaled = getattr(teacher.config, "scale_attn_weights", True)
    cut = _Cut(own, spec, roles_of(teacher), read_weights(teacher), chosen, scaled=scaled)
    if method in ON_INPUTS:
        if not batches:
            raise DataError(f"initialisation by {method}: found no inputs, expected batches of the training part")
        seen = measure_importance(teacher, batches) if importance is None else importance
        if method == "gates":
            seen = replace(seen, heads=_checked_gates(gates, seen.heads))
        return _cut_on_inputs(student, teacher, cut, method, seen, batches)
    scores = scores_of_magnitude(cut.weights, spec, cut.roles, chosen) if method == "magnitude" else None
    kept = keep_evenly(own, spec, chosen) if scores is None else keep_best(own, spec, chosen, scores)
    cut.fit_heads(None, folded=False)
    written = write_weights(student, cut.taken(student, kept, None))
    return Initialisation(method=method, **asdict(kept), copied_parameters=written)


def _checked_gates(gates: torch.Tensor | None, expected: torch.Tensor) -> torch.Tensor:
    if gates is None or gates.shape != expected.shape:
        found = "none" if gates is None else f"a table of {tuple(gates.shape)}"
        raise DataError(
            f"initialisation by gates: found {found}, expected what every head is worth, {tuple(expected.shape)}; "
            "see edgekd.students.gates"
        )
    return gates


@dataclass
class _Cut:
    """A cut in the making: `weights` are the teacher's, in a form that may be changed without changing the teacher."""

    own: StudentSpec
    spec: StudentSpec
    roles: Roles
    weights: Weights
    layers: list[int]
    scaled: bool  # whether scores are divided by the root of head_dim

    @property
    def tied(self) -> bool:
        """True where the student's head is its table of embeddings; one of its own may be a copy of the teacher's."""
        return self.own.labels == 0 and self.own.tied

    def fit_heads(self, importance: Importance | None, *, folded: bool) -> None:
        """Prepare the heads of the kept layers for a smaller head_dim, where the student has one."""
        if self.own.head_dim == self.spec.head_dim:
            return
        for layer in self.layers:
            if importance is not None and self.spec.architecture != "llama":
                inputs = importance.moments[2 * layer]
                if not folded:
                    inputs = self._behind_norm(layer, inputs)
                turn_heads(self.weights, self.roles, self.spec, layer, inputs, importance.mixed[layer])
            if self.scaled:
                scale_queries(self.weights, self.roles, layer, (self.own.head_dim / self.spec.head_dim) ** 0.5)

    def _behind_norm(self, layer: int, moment: torch.Tensor) -> torch.Tensor:
        """The second moment of what the attention of `layer` reads, from that before the norm's gain and bias."""
        name = self._norm_before(layer)
        gain = self.weights[f"{name}.weight"].double().cpu()
        bias = self.weights[f"{name}.bias"].double().cpu() if f"{name}.bias" in self.weights else None
        change = torch.diag(torch.cat([gain, torch.ones(1, dtype=torch.float64)]))
        if bias is not None:
            change[:-1, -1] = bias
        return change @ moment @ change.t()

    def _norm_before(self, layer: int) -> str:
        roles = self.roles
        if not roles.post_norm:
            return f"{roles.layers}.{layer}.{roles.norms[0]}"
        if layer == 0:
            return str(roles.first_norm)
        return f"{roles.layers}.{layer - 1}.{roles.norms[1]}"

    def taken(self, student: PreTrainedModel, kept: Kept, basis: torch.Tensor | None) -> Weights:
        """The weights of the student: what is `kept`, or of the channels their coordinates in `basis`."""
        found: Weights = {}
        places = [_indices(kept, self.spec, layer) for layer in range(self.own.layers)]
        for name in read_weights(student, with_tied=False):
            layer = layer_of(name)
            source = self.weights[name if layer is None else in_layer(name, kept.layer_map[layer])]
            axes = axes_of(name, self.spec.architecture, source.dim())
            if basis is not None and axes == ("channels",) and name.rsplit(".", 1)[0] in self._norms(self.own.layers):
                # A gain of 1 stays one in any directions, and what is not folded is fitted on inputs afterwards.
                found[name] = torch.full((self.own.hidden,), 1.0 if name.endswith("weight") else 0.0)
                continue
            found[name] = _selected(source, axes, places[layer or 0], basis)
        return found

    def _norms(self, layers: int) -> set[str]:
        inside = {f"{self.roles.layers}.{layer}.{norm}" for layer in range(layers) for norm in self.roles.norms}
        return inside | {name for name in (self.roles.first_norm, self.roles.last_norm) if name}


def _cut_on_inputs(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    cut: _Cut,
    method: Method,
    importance: Importance,
    batches: Sequence[Batch],
) -> Initialisation:
    scores = scores_of_importance(importance, cut.layers, post_norm=cut.roles.post_norm)
    kept = keep_best(cut.own, cut.spec, cut.layers, scores)
    if cut.own.architecture != "llama":
        kept = replace(kept, head_rows=list(range(cut.own.head_dim)))  # those of a turned head, if it is to be cut
    basis, energy = None, None
    if method == "rotation":
        cut.weights = fold_norms(cut.weights, cut.roles, cut.spec.layers, tied=cut.tied)
        moment = stream_moment(importance, cut.layers)
        centred = cut.spec.architecture != "llama"
        basis, energy = principal_directions(moment, cut.own.hidden, without_mean=centred)
    cut.weights = dict(cut.weights)
    cut.fit_heads(importance, folded=basis is not None)
    written = write_weights(student, cut.taken(student, kept, basis))
    calibrate_norms(student, teacher, cut.layers, batches, _target(teacher, cut, kept, basis))
    if basis is not None:
        _mend_last_bias(student, teacher, cut)
    fields = asdict(kept) | ({"channels": []} if basis is not None else {})
    return Initialisation(
        method=method, **fields, copied_parameters=written, kept_energy=energy, tokens=importance.tokens
    )


def _target(teacher: PreTrainedModel, cut: _Cut, kept: Kept, basis: torch.Tensor | None) -> Target:
    """What a norm of the student should hand on: the teacher's in the kept channels or in the directions of `basis`."""
    names, weights = norm_names(teacher, cut.spec.layers), read_weights(teacher)
    channels = torch.tensor(kept.channels)

    def behind(index: int, plain: torch.Tensor) -> torch.Tensor:
        gain, bias = weights[f"{names[index]}.weight"], weights.get(f"{names[index]}.bias")
        scaled = plain * gain.double().cpu()
        return scaled if bias is None else scaled + bias.double().cpu()

    def target(index: int, plain: torch.Tensor) -> torch.Tensor:
        if basis is None:
            return behind(index, plain)[:, channels]
        unfolded = index == len(names) - 1 and cut.tied
        return (behind(index, plain) if unfolded else plain) @ basis

    return target


def _mend_last_bias(student: PreTrainedModel, teacher: PreTrainedModel, cut: _Cut) -> None:
    """Let the last norm say through its bias what the teacher's says through a head that has none."""
    weights, norm = read_weights(teacher), cut.roles.last_norm
    head, bias = head_of(weights), weights.get(f"{norm}.bias")
    if bias is None or head is None or cut.tied or f"{head}.bias" in weights:
        return
    own = read_weights(student)
    added, changed = bias_through(own[f"{head}.weight"], weights[f"{head}.weight"].double() @ bias.double())
    with torch.no_grad():
        own[f"{norm}.bias"].add_(added.to(bias))
        own[f"{head}.weight"].copy_(changed)


def _indices(kept: Kept, teacher: StudentSpec, layer: int) -> dict[Axis, torch.Tensor]:
    def rows(heads: list[int]) -> list[int]:
        return [head * teacher.head_dim + row for head in heads for row in kept.head_rows]

    indices: dict[Axis, list[int]] = {
        "channels": kept.channels,
        "heads": rows(kept.heads[layer]),
        "kv_heads": rows(kept.kv_heads[layer]),
        "neurons": kept.neurons[layer],
    }
    return {axis: torch.tensor(index) for axis, index in indices.items()}


def _selected(
    source: torch.Tensor, axes: tuple[Axis, ...], kept: dict[Axis, torch.Tensor], basis: torch.Tensor | None
) -> torch.Tensor:
    for dimension, axis in enumerate(axes):
        if axis == "channels" and basis is not None:
            turned = source.double().transpose(dimension, -1) @ basis.to(source.device)
            source = turned.transpose(dimension, -1).to(source.dtype)
        elif axis != "whole":
            source = source.index_select(dimension, kept[axis].to(source.device))
    return source


# Options that change what the weights compute; under others a copied weight means something else.
_OPTIONS = (
    "hidden_act",
    "activation_function",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "rms_norm_eps",
    "rope_parameters",
    "scale_attn_weights",
    "pad_token_id",
)


def _check_options(student: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    for name in _OPTIONS:
        found, expected = getattr(student, name, None), getattr(teacher, name, None)
        if found != expected:
            raise SpecError(
                f"the student has {name} = {found!r}, expected the teacher's {expected!r}; "
                "build it with the teacher's configuration"
            )
