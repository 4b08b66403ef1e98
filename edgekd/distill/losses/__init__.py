"""What a student is taught with: losses against the teacher's answers and features, and against the true labels.

Pure functions. All compute in float32 whatever they are given, send no gradient to the teacher, sum over what counts
and divide by a `normaliser`: with that of a whole optimiser step, parts of the step add up to the loss of the step.
"""

from edgekd.distill.losses.bernoulli import bernoulli_loss, binary_loss, multi_label_loss
from edgekd.distill.losses.combined import distillation_loss, hard_target_loss
from edgekd.distill.losses.correlation import correlation_loss
from edgekd.distill.losses.decoupled import decoupled_loss
from edgekd.distill.losses.divergences import (
    jensen_shannon_loss,
    reverse_kl_loss,
    soft_target_loss,
    standardised_loss,
)
from edgekd.distill.losses.features import cosine_distance_loss, hidden_state_loss
from edgekd.distill.losses.relations import relation_loss
from edgekd.distill.losses.rows import Normaliser
from edgekd.distill.losses.truncated import truncated_kl_loss

__all__ = [
    "Normaliser",
    "bernoulli_loss",
    "binary_loss",
    "correlation_loss",
    "cosine_distance_loss",
    "decoupled_loss",
    "distillation_loss",
    "hard_target_loss",
    "hidden_state_loss",
    "jensen_shannon_loss",
    "multi_label_loss",
    "relation_loss",
    "reverse_kl_loss",
    "soft_target_loss",
    "standardised_loss",
    "truncated_kl_loss",
]
