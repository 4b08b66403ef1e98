"""Which programs are told how the trainings of a run go, and where TensorBoard finds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekd.pipeline.context import TENSORBOARD, Context

if TYPE_CHECKING:
    from edgekd.distill.reporting import Reporting
    from edgekd.recipe import Recipe


def check_reporters(recipe: Recipe) -> None:
    """Nothing, where all of `report_to` can be told, or nobody is. Errors: InputError."""
    if recipe.report_to:
        from edgekd.distill.reporting import check_reporting

        check_reporting(recipe.report_to)


def reporting_of(context: Context, who: str) -> Reporting | None:
    """How the training of `who`, teacher or student, is reported; None where the recipe names nobody."""
    if not context.recipe.report_to:
        return None
    from edgekd.distill.reporting import Reporting

    return Reporting(tuple(context.recipe.report_to), context.path(TENSORBOARD), f"{context.recipe.name} {who}")
