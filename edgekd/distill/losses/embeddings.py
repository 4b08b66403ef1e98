"""What a sentence encoder hears from its teacher: where each text lies, and how near the texts of a batch lie."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgekd.distill.losses.features import cosine_distance_loss
from edgekd.distill.losses.rows import Normaliser, check_temperature, divided, exact
from edgekd.errors import InputError


def embedding_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    temperature: float,
    normaliser: Normaliser = None,
    *,
    projected: torch.Tensor | None = None,
) -> torch.Tensor:
    """The cosine distance of each text's embeddings, plus similarity_loss of the batch, summed over the texts.

    Of a student of another width `projected` is its embedding brought to the teacher's width; that only helps it to
    learn, for what is kept and judged is how near the student's own vectors lie.

    Shapes: student [texts, its width], teacher and projected [texts, the teacher's width].
    Errors: InputError for other shapes.
    """
    placed = cosine_distance_loss(student if projected is None else projected, teacher, normaliser)
    return placed + similarity_loss(student, teacher, temperature, normaliser)


def similarity_loss(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float, normaliser: Normaliser = None
) -> torch.Tensor:
    """KL(teacher ‖ student) of how near each text finds the others of the batch, softmax(cosine / temperature).

    Summed over the texts and divided by the normaliser (else by their number). Widths may differ, and lengths do not
    count. Of a batch in parts each part knows its own texts alone. Computed in float32; no gradient reaches the
    teacher. A single text has no others, and the loss 0.

    Shapes: [texts, width], the widths may differ.
    Errors: InputError for different numbers of texts, or a temperature that is not positive.
    Source: Passalis and Tefas 2018, arXiv:1803.10837 (distributions over a batch); Fang et al. 2021, SEED,
    arXiv:2101.04731 (softmax of cosines at a temperature); Gao et al. 2021, SimCSE, arXiv:2104.08821 (0.05 for texts).
    """
    check_temperature(temperature)
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise InputError(
            f"embeddings: found {tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher, "
            "expected [texts, width] with as many texts"
        )
    if len(student) < 2:
        return divided(0 * student.float().sum(), len(student), normaliser)
    ours, its = _nearness(student, temperature), _nearness(teacher.detach(), temperature)
    total = functional.kl_div(ours, its, reduction="sum", log_target=True)
    return divided(total, len(student), normaliser)


def _nearness(vectors: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities [texts, texts - 1] of the other texts."""
    units = functional.normalize(vectors.float(), dim=-1)
    texts = len(units)
    others = ~torch.eye(texts, dtype=torch.bool, device=units.device)
    with exact(units):
        cosines = (units @ units.t())[others].reshape(texts, texts - 1)
    return functional.log_softmax(cosines / temperature, dim=-1)
