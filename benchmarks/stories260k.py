"""A real pretrained language model of 260,000 parameters as a Hugging Face folder, from the files of llama2.c.

    python benchmarks/stories260k.py ../shared/data/stories260k runs/stories260k

It was trained on short stories for children, and serves as a teacher wherever nothing can be fetched. llama2.c turns
pairs of neighbouring channels where transformers turns a channel of the first half of a head with one of the second, so
the rows of queries and keys are put in another order.
Source: the formats are those of llama2.c (export.py, legacy version; tokenizer.py); the order of the rows is that of
transformers' converter for Llama.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.student import StudentSpec
from edgekd.students.build import build
from edgekd.students.families import config_from_spec

CHECKPOINT, TOKENIZER = "stories260K.bin", "tok512.bin"
UNKNOWN = "<unk>"
BEGIN = "<s>"  # stands before each story, and so ends the one before
FIRST_BYTE, BYTES = 3, 256  # tokens that stand for single bytes, after <unk>, <s> and </s>


def spec_in(data: bytes) -> tuple[StudentSpec, int]:
    """The dimensions in a checkpoint's header of seven numbers, and the bytes that these take."""
    dim, hidden, layers, heads, kv_heads, vocabulary, positions = struct.unpack("<7i", data[:28])
    spec = StudentSpec(
        architecture="llama", layers=layers, hidden=dim, heads=heads, kv_heads=kv_heads, ffn=hidden,
        vocabulary=abs(vocabulary), positions=positions, labels=0, tied=vocabulary > 0,
    )  # fmt: skip
    return spec, 28


def converted(data: bytes) -> Any:
    """The checkpoint of llama2.c in `data` as a model of transformers."""
    spec, start = spec_in(data)
    config = config_from_spec(spec)
    config.rms_norm_eps, config.bos_token_id, config.eos_token_id = 1.0e-5, 1, 1
    model = build(spec, config, seed=0)
    values = np.frombuffer(data, dtype="<f4", offset=start)
    weights = dict(model.named_parameters())
    at = 0
    with torch.no_grad():
        for name, axes in _stored(spec):
            size = int(np.prod(axes))
            found = torch.tensor(values[at : at + size]).reshape(axes)
            at += size
            targets = [name] if "{}" not in name else [name.format(layer) for layer in range(spec.layers)]
            for target, part in zip(targets, found[None] if len(targets) == 1 else found, strict=True):
                heads = {"q_proj": spec.heads, "k_proj": spec.kv_heads}.get(target.split(".")[-2], 0)
                weights[target].copy_(_halves(part, heads) if heads else part)
    return model


def _stored(spec: StudentSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The tensors in the order in which they are stored, all layers of one after the other, with their shapes."""
    layers, width, kv = spec.layers, spec.hidden, spec.kv_heads * spec.head_dim
    layer = "model.layers.{}"
    yield "model.embed_tokens.weight", (spec.vocabulary, width)
    yield f"{layer}.input_layernorm.weight", (layers, width)
    yield f"{layer}.self_attn.q_proj.weight", (layers, spec.heads * spec.head_dim, width)
    yield f"{layer}.self_attn.k_proj.weight", (layers, kv, width)
    yield f"{layer}.self_attn.v_proj.weight", (layers, kv, width)
    yield f"{layer}.self_attn.o_proj.weight", (layers, width, spec.heads * spec.head_dim)
    yield f"{layer}.post_attention_layernorm.weight", (layers, width)
    yield f"{layer}.mlp.gate_proj.weight", (layers, spec.ffn, width)
    yield f"{layer}.mlp.down_proj.weight", (layers, width, spec.ffn)
    yield f"{layer}.mlp.up_proj.weight", (layers, spec.ffn, width)
    yield "model.norm.weight", (width,)


def _halves(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of pairs (0, 1), (2, 3) … of each head as rows of its first halves and then of its second."""
    width = rows.shape[-1]
    return rows.reshape(heads, -1, 2, width).transpose(1, 2).reshape(-1, width)


def pieces_in(data: bytes) -> list[tuple[bytes, float]]:
    """The tokens of a tokenizer of llama2.c, with their scores."""
    found, at = [], 4
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        found.append((data[at + 8 : at + 8 + length], score))
        at += 8 + length
    return found


def tokenizer_in(data: bytes, positions: int) -> Any:
    """The tokenizer of llama2.c in `data` as a fast tokenizer, which puts <s> before each text.

    A pair of tokens is merged when the two together are one, those of the highest score first.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = pieces_in(data)
    names = [UNKNOWN, BEGIN, "</s>", *(f"<0x{byte:02X}>" for byte in range(BYTES))]
    names += [piece.decode().replace(" ", "▁") for piece, _ in pieces[FIRST_BYTE + BYTES :]]
    numbers = {name: number for number, name in enumerate(names)}
    parsed = Tokenizer(
        models.BPE(numbers, _merges(names, pieces), unk_token=UNKNOWN, byte_fallback=True, fuse_unk=True)
    )
    parsed.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parsed.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 1)])
    parsed.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=parsed, bos_token=BEGIN, unk_token=UNKNOWN, model_max_length=positions)


def _merges(names: list[str], pieces: list[tuple[bytes, float]]) -> list[tuple[str, str]]:
    known = set(names[FIRST_BYTE + BYTES :])
    found = [
        (pieces[number][1], (name[:cut], name[cut:]))
        for number, name in enumerate(names)
        if name in known
        for cut in range(1, len(name))
        if name[:cut] in known and name[cut:] in known
    ]
    return [pair for _, pair in sorted(found, key=lambda item: -item[0])]


def continued(model: Any, tokenizer: Any, most: int, text: str = "") -> str:
    """What `model` goes on with after `text`, always its most probable token, up to `most` tokens in all."""
    ids = tokenizer(text)["input_ids"] if text else [tokenizer.bos_token_id]
    with torch.no_grad():
        while len(ids) < most:
            logits: NDArray[Any] = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].numpy()
            ids.append(int(logits.argmax()))
            if ids[-1] == tokenizer.bos_token_id:
                break
    said: str = tokenizer.decode(ids, skip_special_tokens=True)
    return said


def convert(source: Path, target: Path) -> Path:
    """The model in the folder `source` as a Hugging Face folder `target`."""
    data = (source / CHECKPOINT).read_bytes()
    model = converted(data)
    model.save_pretrained(target)
    tokenizer_in((source / TOKENIZER).read_bytes(), model.config.max_position_embeddings).save_pretrained(target)
    return target


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    asked = parser.parse_args()
    print(f"wrote {convert(asked.source, asked.target)}")


if __name__ == "__main__":
    main()
