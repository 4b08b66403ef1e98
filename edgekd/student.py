"""A student as plain data: what it is, not its weights. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from edgekd.errors import SpecError

ENCODERS = ("bert", "roberta")
DECODERS = ("gpt2", "llama")
VITS = ("vit",)
ENCODER_DECODERS = ("t5", "bart")
ARCHITECTURES = (*ENCODERS, *DECODERS, *VITS, *ENCODER_DECODERS)

Precision = Literal["fp32", "fp16", "int8", "int4", "fp32-fused", "int8-fused"]
"""What numbers a file holds; `-fused` is the variant of its graph with operators joined before it reaches the board."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Head = Literal["sequence", "tokens", "language", "none"]
"""What a model answers: labels for an input or for each of its tokens, the next token, or its last hidden states."""
HEADS: tuple[Head, ...] = get_args(Head)


def numbers_of(precision: str) -> str:
    """The precision without the variant of the graph: 'int8' of 'int8-fused'."""
    return precision.removesuffix("-fused")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentSpec:
    """Dimensions of a transformer: of a student, and just as well of its teacher.

    `architecture` is the `model_type` of transformers. `hidden` is the width of the residual stream, `heads` the query
    heads of `head_dim` each, `kv_heads` the key and value heads, `ffn` the inner width of the feed-forward block.
    `labels` > 0 means a classification head, 0 a language-model head (`tied` to the embeddings or not), unless `head`
    says more: "tokens" are labels for each token, "none" is an encoder that gives its hidden states. `positions` are
    the rows of the table of positions; those of a T5 stand for distances and set no limit to an input. An
    encoder-decoder has `layers` in its encoder and `decoder_layers` in its decoder, as many unless told otherwise; a
    `gated` T5 multiplies its feed-forward block by a gate (T5 1.1, Flan-T5).
    Errors: SpecError for dimensions that no such model can have.
    Source: the configuration classes of transformers 5 (BertConfig, RobertaConfig, GPT2Config, LlamaConfig, ViTConfig,
    T5Config, BartConfig).
    """

    architecture: str
    layers: int
    hidden: int
    heads: int
    ffn: int
    head_dim: int = 0
    kv_heads: int = 0
    vocabulary: int = 0
    positions: int = 0
    token_types: int = 0
    labels: int = 0
    tied: bool = True
    image_size: int = 0
    patch_size: int = 0
    channels: int = 0
    decoder_layers: int = 0
    gated: bool = False
    head: str = ""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise SpecError(f"found the architecture {self.architecture!r}, expected one of {', '.join(ARCHITECTURES)}")
        for name in ("layers", "hidden", "heads", "ffn"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.head_dim == 0:
            if self.hidden % self.heads:
                raise SpecError(f"hidden {self.hidden} cannot be shared by {self.heads} heads; give a multiple of it")
            object.__setattr__(self, "head_dim", self.hidden // self.heads)
        if self.kv_heads == 0:
            object.__setattr__(self, "kv_heads", self.heads)
        if self.decoder_layers == 0 and self.family == "encoder-decoder":
            object.__setattr__(self, "decoder_layers", self.layers)
        if not self.head:
            object.__setattr__(self, "head", "sequence" if self.labels else "language")
        self._check_heads()
        self._check_head()
        self._check_decoder()
        self._check_inputs()

    def _check_heads(self) -> None:
        if self.architecture not in ("llama", "t5") and self.heads * self.head_dim != self.hidden:
            product = f"{self.heads} x {self.head_dim}"
            raise SpecError(f"{self.architecture} needs heads x head_dim = {self.hidden}, found {product}")
        if self.architecture != "llama" and self.kv_heads != self.heads:
            raise SpecError(f"{self.architecture} has as many key as query heads, found {self.kv_heads}")
        if self.heads % self.kv_heads:
            raise SpecError(f"{self.heads} heads cannot share {self.kv_heads} key heads evenly")
        if self.architecture == "llama" and self.head_dim % 2:
            raise SpecError(f"llama needs an even head_dim for rotary positions, found {self.head_dim}")

    def _check_head(self) -> None:
        if self.head not in HEADS:
            raise SpecError(f"found the head {self.head!r}, expected one of {', '.join(HEADS)}")
        if (self.labels > 0) != (self.head in ("sequence", "tokens")):
            raise SpecError(f"the head {self.head} goes with {'no' if self.labels else 'some'} labels")
        if self.head == "none" and self.architecture not in ENCODERS:
            raise SpecError(f"a {self.architecture} has no head; only {' and '.join(ENCODERS)} are used without one")
        if self.head == "tokens" and self.family not in ("encoder", "decoder"):
            raise SpecError(f"a {self.architecture} has no tokens to label, expected an encoder or a decoder")

    def _check_decoder(self) -> None:
        if self.decoder_layers < 0 or (self.decoder_layers and self.family != "encoder-decoder"):
            raise SpecError(f"a {self.architecture} has {self.decoder_layers} decoder_layers, expected none")
        if self.gated and self.architecture != "t5":
            raise SpecError(f"a {self.architecture} is gated or not by its architecture; only a t5 is told")

    def _check_inputs(self) -> None:
        if self.family == "vit":
            if self.image_size < 1 or self.patch_size < 1 or self.image_size % self.patch_size:
                raise SpecError(f"an image of {self.image_size} cannot be cut into patches of {self.patch_size}")
            if self.channels < 1 or self.labels < 1:
                raise SpecError("a ViT needs channels and labels, found none")
        elif self.vocabulary < 1 or self.positions < 1:
            raise SpecError(f"a {self.architecture} needs a vocabulary and positions, found none")

    @property
    def family(self) -> str:
        """'encoder', 'decoder', 'encoder-decoder' or 'vit'."""
        if self.architecture in ENCODERS:
            return "encoder"
        if self.architecture in ENCODER_DECODERS:
            return "encoder-decoder"
        return "decoder" if self.architecture in DECODERS else "vit"

    @property
    def name(self) -> str:
        """'L3-H64-A4-F128', with '-G2' for fewer key heads and '-D32' for a head_dim of its own.

        'L6.2' are the layers of an encoder and of its decoder.
        """
        layers = f"L{self.layers}.{self.decoder_layers}" if self.decoder_layers else f"L{self.layers}"
        parts = [layers, f"H{self.hidden}", f"A{self.heads}"]
        if self.kv_heads != self.heads:
            parts.append(f"G{self.kv_heads}")
        if self.heads * self.head_dim != self.hidden:
            parts.append(f"D{self.head_dim}")
        return "-".join([*parts, f"F{self.ffn}"])

    @property
    def tokens(self) -> int:
        """Positions a ViT attends over, its class token included; 0 for text, where the input decides."""
        return (self.image_size // self.patch_size) ** 2 + 1 if self.family == "vit" else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> StudentSpec:
        """The spec in `table`. Errors: SpecError for unknown, missing or mistyped keys."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(table) - known)
        if unknown:
            raise SpecError(f"unknown key {unknown[0]!r} in a student, expected {', '.join(sorted(known))}")
        for key, value in table.items():
            wanted: type = {"architecture": str, "head": str, "tied": bool, "gated": bool}.get(key, int)
            if type(value) is not wanted:
                raise SpecError(f"{key} is {value!r} in a student, expected {wanted.__name__}")
        try:
            return cls(**table)
        except TypeError:
            raise SpecError("a student needs architecture, layers, hidden, heads and ffn") from None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A student in one precision: what can be exported and measured.

    `sequence` is the tokens per input where a run chooses among several lengths, 0 where it has a single one.
    """

    spec: StudentSpec
    precision: str = "fp32"
    sequence: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise SpecError(f"found the precision {self.precision!r}, expected one of {', '.join(PRECISIONS)}")

    @property
    def name(self) -> str:
        """'L3-H64-A4-F128-int8', or 'L3-H64-A4-F128-S32-int8' for one length of several."""
        return f"{self.student}-{self.precision}"

    @property
    def student(self) -> str:
        """The name without the precision."""
        return f"{self.spec.name}-S{self.sequence}" if self.sequence else self.spec.name
