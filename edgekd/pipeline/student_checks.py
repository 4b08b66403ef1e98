"""Whether there are students, and can be taught as the recipe says: asked before the teacher is trained."""

from __future__ import annotations

from edgekd.errors import RecipeError
from edgekd.recipe import Recipe
from edgekd.space import Space
from edgekd.student import StudentSpec

MOST_COUNTED = 100_000  # combinations of a space, our choice: a tenth of a second
LEAST_CLASSES = 3  # of standardised logits: two are always 1 and -1


def check_space(space: Space, teacher: StudentSpec) -> None:
    """Refuse a space of which no student can be cut out of the teacher. One too large to count is left to the sizing.

    Errors: SpecError with the reasons and what to change.
    """
    from edgekd.sizing.grid import Grid
    from edgekd.sizing.space import enumerate_students

    # The length of an input makes no student possible or impossible.
    grid = Grid(space, teacher, teacher.tokens or 1)
    if grid.size <= MOST_COUNTED:
        enumerate_students(grid)


def check_losses(recipe: Recipe, teacher: StudentSpec, classes: int) -> None:
    """Refuse losses that do not go with the `classes`, the teacher, or a student of the space. Errors: RecipeError."""
    distill = recipe.distill
    if distill.loss == "standardised" and classes < LEAST_CLASSES:
        raise RecipeError(
            f"distill.loss is standardised, which needs at least {LEAST_CLASSES} classes, and the data has {classes}: "
            "of two standardised logits all that is left is which one is larger. Choose another loss"
        )
    for name, term in (("hidden", distill.hidden), ("relations", distill.relations)):
        if term is not None and not isinstance(term.layers, str):
            _check_layers(f"distill.{name}.layers", term.layers, recipe.space, teacher)
    if distill.relations is not None:
        _check_heads(distill.relations.heads, recipe.space, teacher)


def check_dropping(recipe: Recipe, teacher: StudentSpec) -> None:
    """Refuse to give up layers where every student of the space has all that the teacher has. Errors: RecipeError.

    Where layers follow another dimension, which the chosen student decides: see edgekd.pipeline.begin.
    """
    least = min(recipe.space.layers or [teacher.layers])
    if recipe.distill.drop_layers is not None and "layers" not in recipe.space.ties and least >= teacher.layers:
        raise RecipeError(
            f"distill.drop_layers: every student of the space has {least} layers, as many as the teacher, so there is "
            f"none to give up, expected space.layers below {teacher.layers}. Change them, or leave drop_layers out"
        )


def _check_layers(name: str, pairs: list[list[int]], space: Space, teacher: StudentSpec) -> None:
    own, its = (max(pair[which] for pair in pairs) for which in (0, 1))
    if its >= teacher.layers:
        raise RecipeError(
            f"{name}: found layer {its} of the teacher, expected 0 to {teacher.layers - 1}; layers are counted from 0"
        )
    least = min(space.layers or [teacher.layers])
    if "layers" not in space.ties and own >= least:
        raise RecipeError(
            f"{name}: found layer {own} of the student, expected 0 to {least - 1}, for the space has students of "
            f"{least} layers. Layers are counted from 0; narrow space.layers, or let auto choose them"
        )


def _check_heads(heads: int, space: Space, teacher: StudentSpec) -> None:
    of_teacher = (teacher.heads * teacher.head_dim, teacher.kv_heads * teacher.head_dim)
    for who, widths in (("teacher", of_teacher), ("student", _student_widths(space, teacher))):
        wrong = next((width for width in widths if width % heads), None)
        if wrong is not None:
            raise RecipeError(
                f"distill.relations.heads is {heads}, expected a number that divides the widths of teacher and "
                f"student; the {who}'s queries, keys or values may be {wrong} wide"
            )


def _student_widths(space: Space, teacher: StudentSpec) -> list[int]:
    """How wide queries of a student may be, where the space alone says so: a Llama's heads go their own way."""
    return [] if teacher.architecture == "llama" or "hidden" in space.ties else list(space.hidden or [])
