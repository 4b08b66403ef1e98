"""Whether a teacher that somebody else made goes with the data and with its own tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekd.cost.operators import most_tokens
from edgekd.errors import RecipeError
from edgekd.text import printable
from edgekd.units import text_from_share

if TYPE_CHECKING:
    from edgekd.students.source import LoadedClassifier

LEAST_EXAMPLES = 5  # of a class, our choice: fewer answers show no habit


def check_head(name: str, loaded: LoadedClassifier, *, taught: bool) -> None:
    """Nothing, when the head of the teacher `name` knows the data's labels, or will be `taught` them.

    Errors: RecipeError.
    """
    if not loaded.fresh_head or taught:
        return
    alike = "Name the classes of the data alike in data.labels, in the order of their numbers, or add"
    raise RecipeError(
        f"teacher.model {name}: {loaded.note}. {alike if loaded.lost_head else 'Add'} teacher.fine_tune to the recipe"
    )


def check_tokenizer(name: str, model: Any, tokenizer: Any, max_length: int) -> None:
    """Nothing, when every token has a row in the embedding table and every place in a text has a position.

    A table with more rows than tokens is fine: it was padded to a round number. Errors: RecipeError.
    """
    from edgekd.students.weights import spec_of

    rows = model.get_input_embeddings().weight.shape[0]
    token, last = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if last >= rows:
        raise RecipeError(
            f"teacher.model {name}: its tokenizer gives numbers up to {last} (token {printable(repr(token), 40)}), its "
            f"embedding table has {rows} rows, expected at least {last + 1}. Save the model with the tokenizer that it "
            "was trained with"
        )
    most = most_tokens(spec_of(model))
    if most is not None and max_length > most:
        raise RecipeError(
            f"data.max_length is {max_length}, but teacher.model {name} has positions for {most} tokens. "
            "Lower data.max_length"
        )


def set_padding(name: str, model: Any, tokenizer: Any) -> None:
    """Let a decoder that classifies know what fills up texts, where its config.json does not say.

    Errors: RecipeError where nobody says it, of a decoder or any other model.
    """
    from edgekd.students.padding import DECODERS, padding_token

    found = padding_token(model.config, tokenizer)
    if found is None:
        raise RecipeError(
            f"teacher.model {name}: neither its tokenizer nor its config.json names a token for padding, and texts of "
            "different length need one. Set pad_token_id in config.json"
        )
    if model.config.model_type in DECODERS:
        model.config.pad_token_id = found


def check_order(name: str, labels: Sequence[int], answers: Sequence[int], classes: Sequence[str]) -> None:
    """Nothing, unless the teacher's `answers` show that its outputs stand in another order than the data's `classes`.

    That is where most examples of one class are answered as a second, most of that as a third, and so on back to the
    first. Of classes with fewer than 5 examples nothing can be said. Errors: RecipeError naming the classes.
    """
    habits: dict[int, tuple[int, float]] = {}
    for label, count in Counter(labels).items():
        if count < LEAST_EXAMPLES:
            continue
        given = Counter(answer for answer, true in zip(answers, labels, strict=True) if true == label)
        answer, often = given.most_common(1)[0]
        if 2 * often > count:
            habits[label] = answer, often / count
    for start in sorted(habits):
        circle = _circle(start, {label: answer for label, (answer, _) in habits.items()})
        if len(circle) > 1:
            shown = [
                f"{_shown(classes[at])} as {_shown(classes[habits[at][0]])} ({_share(habits[at])})" for at in circle
            ]
            raise RecipeError(
                f"teacher.model {name}: its outputs stand in another order than the classes of the data: on the "
                f"validation part it answers {', '.join(shown[:4])}. Its labels are only numbered, so put their names "
                "into id2label of its config.json in the order in which it was trained"
            )


def _share(habit: tuple[int, float]) -> str:
    return text_from_share(habit[1], 0)


def _shown(name: str) -> str:
    return printable(repr(name), 60)


def _circle(start: int, following: dict[int, int]) -> list[int]:
    """The way from `start` back to it, or nothing where it leads elsewhere."""
    way, at = [start], following.get(start)
    while at is not None and at not in way:
        way.append(at)
        at = following.get(at)
    return way if at == start else []
