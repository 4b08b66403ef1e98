"""Teachers that do not go with the data, or with their own tokenizer."""

import pytest
from tiny_language import tiny_gpt2
from tiny_text import WORDS, tiny_bert, tiny_tokenizer

from edgekd.errors import RecipeError
from edgekd.pipeline.teacher_checks import check_head, check_order, check_tokenizer, set_padding
from edgekd.students.source import LoadedClassifier

NAMES = ["cat", "dog", "owl"]


def test_a_table_with_rows_to_spare_is_fine_and_a_shorter_one_is_not() -> None:
    check_tokenizer("t", tiny_bert(), tiny_tokenizer(), 12)
    check_tokenizer("t", tiny_bert(vocabulary=len(WORDS) + 50), tiny_tokenizer(), 12)
    with pytest.raises(
        RecipeError,
        match=r"teacher.model t: its tokenizer gives numbers up to 14 \(token 'more'\), its embedding table has 14 rows, expected at least 15",
    ):
        check_tokenizer("t", tiny_bert(), tiny_tokenizer([*WORDS, "more"]), 12)


def test_tokens_that_were_added_count_too() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<new>"])
    with pytest.raises(RecipeError, match=r"up to 14 \(token '<new>'\)"):
        check_tokenizer("t", tiny_bert(), tokenizer, 12)


def test_texts_longer_than_the_positions_are_refused() -> None:
    check_tokenizer("t", tiny_bert(), tiny_tokenizer(), 16)
    with pytest.raises(
        RecipeError, match=r"data\.max_length is 17, but teacher\.model t has positions for 16 tokens\. Lower"
    ):
        check_tokenizer("t", tiny_bert(), tiny_tokenizer(), 17)


def test_what_fills_up_texts_is_what_a_decoder_takes_for_padding() -> None:
    bare = tiny_tokenizer()
    bare.pad_token = None
    bert, gpt2, lost = tiny_bert(), tiny_gpt2(20), tiny_gpt2(20)
    bert.config.pad_token_id = None
    set_padding("t", bert, tiny_tokenizer())
    assert bert.config.pad_token_id is None
    gpt2.config.pad_token_id = None
    set_padding("t", gpt2, tiny_tokenizer())
    assert gpt2.config.pad_token_id == 0
    gpt2.config.pad_token_id = 7
    set_padding("t", gpt2, tiny_tokenizer())
    set_padding("t", gpt2, bare)
    assert gpt2.config.pad_token_id == 7
    lost.config.pad_token_id = None
    for model in (lost, bert):
        with pytest.raises(RecipeError, match=r"teacher\.model t: neither its tokenizer nor its config\.json names"):
            set_padding("t", model, bare)


def test_an_untaught_head_needs_to_be_taught() -> None:
    ready = LoadedClassifier(tiny_bert(), fresh_head=False, note="")
    bare = LoadedClassifier(tiny_bert(), fresh_head=True, note="no head")
    other = LoadedClassifier(tiny_bert(), fresh_head=True, note="other labels", lost_head=True)
    check_head("t", ready, taught=False)
    for loaded in (bare, other):
        check_head("t", loaded, taught=True)
    with pytest.raises(RecipeError, match=r"^teacher\.model t: no head\. Add teacher\.fine_tune to the recipe$"):
        check_head("t", bare, taught=False)
    with pytest.raises(
        RecipeError, match=r"other labels\. Name the classes .* data\.labels, .*, or add teacher\.fine_tune"
    ):
        check_head("t", other, taught=False)


def test_a_teacher_that_is_often_wrong_keeps_its_order() -> None:
    labels = [0] * 10 + [1] * 10 + [2] * 10
    check_order("t", labels, labels, NAMES)
    check_order("t", labels, [0] * 30, NAMES)
    check_order("t", labels, [1] * 10 + [2] * 10 + [2] * 10, NAMES)
    undecided = [1, 0, 2, 1, 0, 2, 1, 0, 2, 1], [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    check_order("t", labels, [*undecided[0], *undecided[1], *[2] * 10], NAMES)


def test_outputs_in_another_order_are_shown_by_its_habits() -> None:
    labels = [0] * 10 + [1] * 10 + [2] * 10
    swapped = [1] * 9 + [2] + [0] * 10 + [2] * 10
    with pytest.raises(
        RecipeError,
        match=r"it answers 'cat' as 'dog' \(90 %\), 'dog' as 'cat' \(100 %\)\. Its labels are only numbered",
    ):
        check_order("t", labels, swapped, NAMES)
    turned = [1] * 10 + [2] * 10 + [0] * 10
    with pytest.raises(RecipeError, match=r"'cat' as 'dog' .*, 'dog' as 'owl' .*, 'owl' as 'cat'"):
        check_order("t", labels, turned, NAMES)


def test_of_a_few_examples_nothing_is_said() -> None:
    check_order("t", [0] * 4 + [1] * 4, [1] * 4 + [0] * 4, NAMES)
    with pytest.raises(RecipeError):
        check_order("t", [0] * 5 + [1] * 5, [1] * 5 + [0] * 5, NAMES)
