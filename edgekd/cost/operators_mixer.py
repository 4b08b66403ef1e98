"""The operators of a forward pass of an MLP-Mixer, the network of edgekd/students/mixer.py."""

from __future__ import annotations

from edgekd.cost.trace import Group, Operator, active, in_place, linear, patches
from edgekd.networks.mixer import MixerSpec


def operators(spec: MixerSpec, *, batch: int) -> list[Operator]:
    """The operators of one forward pass in order; of more than two equal layers the second stands for the rest."""
    rows = batch * spec.tokens
    trace = [patches(rows, spec.channels * spec.patch_size**2, spec.hidden)]
    for index in range(min(spec.layers, 2)):
        trace += _layer(spec, batch, f"layer{index}.", trace[-1].name, 1 if index == 0 else spec.layers - 1)
    stream = rows * spec.hidden
    trace.append(Operator("last", "head", "norm", (trace[-1].name,), stream, floats=2 * spec.hidden))
    trace.append(Operator("pooled", "head", "pool", ("last",), batch * spec.hidden, counted=False))
    return [*trace, linear("logits", "head", "pooled", (batch, spec.hidden, spec.labels))]


def _layer(spec: MixerSpec, batch: int, at: str, source: str, times: int) -> list[Operator]:
    hidden, tokens = spec.hidden, spec.tokens
    across = (batch * hidden, tokens, spec.token_ffn)
    within = (batch * tokens, hidden, spec.channel_ffn)
    mixed = _block(spec, "token_mixing", f"{at}token.", source, across, times)
    return mixed + _block(spec, "feed_forward", f"{at}channel.", mixed[-1].name, within, times)


def _block(
    spec: MixerSpec, group: Group, at: str, source: str, sizes: tuple[int, int, int], times: int
) -> list[Operator]:
    rows, width, inner = sizes
    stream = rows * width
    return [
        Operator(f"{at}before", group, "norm", (source,), stream, floats=2 * spec.hidden, times=times),
        linear(f"{at}up", group, f"{at}before", (rows, width, inner), times=times),
        active(f"{at}active", group, f"{at}up", rows * inner, times=times),
        linear(f"{at}down", group, f"{at}active", (rows, inner, width), times=times),
        in_place(f"{at}out", group, (f"{at}down", source), stream, times=times),
    ]
