from edgekd.recipe import Recipe
from edgekd.student import HEADS
from edgekd.task import TASK_NAMES, TASKS, words_of


def test_every_task_that_a_recipe_may_name_has_words() -> None:
    assert set(TASKS) == set(TASK_NAMES)
    assert set(Recipe.model_json_schema()["properties"]["task"]["enum"]) == set(TASK_NAMES)


def test_every_task_has_a_head_that_students_can_have() -> None:
    assert {words.head for words in TASKS.values()} <= set(HEADS)


def test_a_score_is_put_in_words() -> None:
    assert TASKS["text-classification"].text(0.942) == "94.2 % right"
    assert TASKS["image-classification"].text(1 / 3, 2) == "33.33 % right"


def test_the_words_of_a_record_without_a_task_follow_from_its_metric() -> None:
    assert words_of("causal-lm") is TASKS["causal-lm"]
    assert words_of(None) is TASKS["text-classification"]
    assert words_of("told by another version", "f1_micro") is TASKS["multi-label-classification"]
    assert words_of(["no", "name"]) is TASKS["text-classification"]


def test_what_was_counted_is_said_for_every_task() -> None:
    said = {name: words.counted_text(88, 100, "d", 0.88) for name, words in TASKS.items()}
    assert said["text-classification"] == "88 of 100 answers on d are right (88.00 %)"
    assert said["multi-label-classification"] == "micro F1 of 100 pairs of example and label on d is 88.00 %"
    assert said["token-classification"] == "88 of 100 words on d are tagged right (88.00 %)"
    assert said["sentence-embedding"] == "88 of 100 texts on d have the teacher's nearest text (88.00 %)"
    assert said["causal-lm"] == "88 of 100 next tokens on d are right (88.00 %)"


def test_a_loss_is_told_as_itself_or_as_perplexity() -> None:
    assert TASKS["text-classification"].loss_text(0.11403) == "0.114"
    assert TASKS["causal-lm"].loss_text(3.0) == "20.09"
    assert TASKS["causal-lm"].loss_text(1e9) == "inf"
