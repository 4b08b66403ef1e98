"""FSDP2: several processes that train one model of which each keeps its part of every weight, gradient and moment.

torch's `fully_shard` cuts the model, each transformer layer as a unit of its own and the rest as the last one, and
brings a unit together for as long as it is computed. It does so on processors and GPUs alike. accelerate 1.15 hears its
own FSDP switches on GPUs only, so they are read here, kept from it while a training runs, and left as they were.

While a model is cut its modules stay the same objects, so that hooks, projectors and callbacks go on working. What a
module was before is laid aside and comes back at the end. Whoever wants whole weights in between (an evaluation, a
checkpoint) gets them in the first process for as long as it takes; files are the same as without sharding.
Sources: torch.distributed.fsdp.fully_shard; Zhao et al. 2023, arXiv:2304.11277 (FSDP).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from transformers import Trainer, TrainingArguments
from typing_extensions import override

from edgekd.distill import processes
from edgekd.distill.capture import layers_of
from edgekd.errors import InputError

if distributed.is_available():  # some builds for small boards come without it
    from torch.distributed._composable_state import _module_state_mapping
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, distribute_tensor

SWITCH = "ACCELERATE_USE_FSDP"

# As transformers' `fsdp_config` has it: as accelerate launch puts it into the environment.
_NAMES = {
    "version": "FSDP_VERSION",
    "cpu_offload": "FSDP_OFFLOAD_PARAMS",
    "activation_checkpointing": "FSDP_ACTIVATION_CHECKPOINTING",
    "reshard_after_forward": "FSDP_RESHARD_AFTER_FORWARD",
}
_NOT_AT_HAND = ("cpu_offload", "activation_checkpointing", "xla")


@dataclass(frozen=True)
class Wish:
    """How to shard. `reshard`: give a layer's weights back after its forward pass, and gather them again for the other.

    Without it the whole model is in memory from the forward to the backward pass, and half as much is sent.
    """

    reshard: bool = True


def asked(arguments: TrainingArguments | None = None) -> Wish | None:
    """How sharding is asked for, by `arguments` or by a launcher's environment; None where it is not.

    Errors: InputError for FSDP1 and for kinds of FSDP that are not at hand here.
    """
    if arguments is not None and arguments.fsdp:
        config = arguments.fsdp_config if isinstance(arguments.fsdp_config, dict) else {}
        return _wish(config, unsaid_version="2")
    if _is_true(os.environ.get(SWITCH)):
        # accelerate takes FSDP without a version for FSDP1, transformers' arguments for FSDP2.
        return _wish({name: os.environ.get(key) for name, key in _NAMES.items()}, unsaid_version="1")
    return None


def _wish(said: Mapping[str, Any], *, unsaid_version: str) -> Wish:
    version = str(said.get("version") or unsaid_version)
    if version != "2":
        raise InputError(
            f"training: found FSDP{version}, expected FSDP2 or DDP. Launch with --fsdp_version 2 (FSDP_VERSION=2), or "
            "without --use_fsdp (ACCELERATE_USE_FSDP)"
        )
    for name in _NOT_AT_HAND:
        if _is_true(said.get(name)):
            raise InputError(
                f"training: found FSDP2 with {name}, expected it without, as that is not at hand here. Switch it off "
                f"in fsdp_config, or where the launcher sets {_NAMES.get(name, name)}"
            )
    return Wish(reshard=str(said.get("reshard_after_forward")).lower() != "false")


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("true", "1")


@contextmanager
def launcher_unheard() -> Iterator[None]:
    """Inside: the switch for accelerate's own FSDP is off. After: as it was."""
    before = os.environ.pop(SWITCH, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[SWITCH] = before


class Pieces:
    """A model of which this process keeps its part, from the making of this to `end`.

    The model is the same object meanwhile. Its whole weights are in no process, but in the first one inside `whole`.
    """

    def __init__(self, model: Any, device: torch.device, wish: Wish) -> None:
        self._first = processes.is_first()
        self._weights: dict[str, nn.Parameter] = dict(model.named_parameters())
        self._before = _laid_aside(model)
        mesh = init_device_mesh(device.type, (processes.count(),))
        for layer in _units(model):
            fully_shard(layer, mesh=mesh, reshard_after_forward=wish.reshard)
        # Kept between forward and backward: it holds the head, needed at once, and projectors, used outside of forward.
        fully_shard(model, mesh=mesh, reshard_after_forward=False)
        self._parts: dict[str, Any] = dict(model.named_parameters())
        self._emptied()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside: the model is whole in the first process. All have to come here, and only the first may ask it."""
        self._gathered(keep=self._first)
        if not self._first:
            yield
            return
        cut = _view_of([module for module, _, _ in self._before])
        _shown(self._before)
        try:
            yield
        finally:
            _shown(cut)
            self._emptied()

    def end(self, *, failed: bool) -> None:
        """Make the model whole again in every process; when that `failed` in one of them, its weights are NaN."""
        if not failed:
            self._gathered(keep=True)
        _shown(self._before)
        for module, _, _ in self._before:
            # torch has no way to say that a module is cut no longer, and would refuse to cut it again.
            _module_state_mapping.pop(module, None)
        if failed:
            for name, weight in self._weights.items():
                weight.data = weight.data.new_full(self._parts[name].shape, torch.nan)

    def gathered_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The whole state of `optimizer`, as it would be without sharding; in the first process alone."""
        told: dict[str, Any] = optimizer.state_dict()
        state: dict[int, dict[str, Any]] = {}
        for number, values in told["state"].items():
            whole = {name: _whole_of(value, at="cpu") for name, value in values.items()}
            if self._first:
                state[number] = whole
        return {**told, "state": state}

    def _gathered(self, *, keep: bool) -> None:
        for name, part in self._parts.items():
            found = _whole_of(part.detach())
            if keep:
                # Gathered from uneven parts it is a view of something larger, which safetensors would not write.
                self._weights[name].data = found.clone(memory_format=torch.contiguous_format)

    def _emptied(self) -> None:
        for weight in self._weights.values():
            weight.data = weight.data.new_empty(0)


def _whole_of(value: Any, at: str | None = None) -> Any:
    return value.full_tensor().to(at) if isinstance(value, DTensor) else value


def divided_state(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Of a whole `state_dict` what this process keeps: of each tensor the part that it keeps of the parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        number: {name: _part_of(value, parameters[number]) for name, value in values.items()}
        for number, values in state_dict["state"].items()
    }
    return {**state_dict, "state": state}


def _part_of(value: Any, parameter: Any) -> Any:
    if not isinstance(parameter, DTensor) or value.ndim == 0 or value.shape != parameter.shape:
        return value
    # Each process has read the same file, so nothing has to be sent.
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def _units(model: Any) -> list[nn.Module]:
    """The layers of a transformer that share no weight with anything else. None of a model without such a list."""
    try:
        layers = list(layers_of(model))
    except InputError:
        return []
    users = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    return [layer for layer in layers if all(users[id(weight)] == 1 for weight in layer.parameters())]


_View = list[tuple[nn.Module, type, dict[str, Any]]]


def _view_of(modules: Iterable[nn.Module]) -> _View:
    """What `modules` are now: their kinds and attributes."""
    return [(module, type(module), vars(module).copy()) for module in modules]


def _laid_aside(model: nn.Module) -> _View:
    """What the modules of `model` are. They go on with copies of their dicts (parameters, hooks and so on)."""
    found = _view_of(model.modules())
    for module, _, attributes in found:
        vars(module).update({name: value.copy() for name, value in attributes.items() if isinstance(value, dict)})
    return found


def _shown(view: _View) -> None:
    """Make the modules what they are in `view`."""
    for module, kind, attributes in view:
        module.__class__ = kind
        vars(module).clear()
        vars(module).update(attributes)


class _Asked(nn.Module):
    """What the loop trains, beside the model itself: as DistributedDataParallel is without sharding."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @override
    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.module(*inputs, **named)


class ShardedTrainer(Trainer):
    """transformers' Trainer, which leaves FSDP2 to us where it is asked for and several processes have met.

    Errors: InputError as `asked`.
    """

    def __init__(self, model: Any, args: TrainingArguments, **others: Any) -> None:
        wish = asked(args)
        self._wish = wish if processes.count() > 1 else None
        self._pieces: Pieces | None = None
        args.fsdp = args.fsdp_plugin_args = None
        with launcher_unheard():
            super().__init__(model, args, **others)

    def whole(self) -> Any:
        """Inside: whole weights in the first process, which alone may ask the model. All have to come here."""
        return nullcontext() if self._pieces is None else self._pieces.whole()

    @override
    def train(self, *arguments: Any, **named: Any) -> Any:
        """As transformers has it; the model is cut meanwhile where that is asked for, and whole at the end."""
        failed = True
        with launcher_unheard():
            try:
                done = super().train(*arguments, **named)
                failed = False
            finally:
                if self._pieces is not None:
                    self._pieces.end(failed=failed)
                    self._pieces = None
        return done

    @override
    def _prepare_for_training(self, *arguments: Any, **named: Any) -> Any:
        # The weights of a checkpoint have been read by now, and the optimiser is made next.
        if self._wish is not None:
            self._pieces = Pieces(self.model, self.args.device, self._wish)
        return super()._prepare_for_training(*arguments, **named)  # type: ignore[no-untyped-call]

    @override
    def _wrap_model(self, model: Any, *arguments: Any, **named: Any) -> Any:
        if self._pieces is None:
            return super()._wrap_model(model, *arguments, **named)
        # For evaluation: no DistributedDataParallel around what is cut, and mixed precision as with it.
        return self.accelerator.prepare_model(_Asked(model), device_placement=False, evaluation_mode=True)

    @override
    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self._pieces is None:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = self._pieces.gathered_state(self._plain_optimizer)
        hook = self._plain_optimizer.register_state_dict_post_hook(lambda *_: state)
        try:
            super()._save_optimizer_and_scheduler(output_dir)
        finally:
            hook.remove()

    @override
    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self._pieces is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        hook = self._plain_optimizer.register_load_state_dict_pre_hook(divided_state)
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        finally:
            hook.remove()

    @property
    def _plain_optimizer(self) -> torch.optim.Optimizer:
        made: Any = self.optimizer
        plain: torch.optim.Optimizer = getattr(made, "optimizer", made)
        return plain
