from edgekd.recipe import Recipe
from edgekd.student import HEADS
from edgekd.task import TASK_NAMES, TASKS


def test_every_task_that_a_recipe_may_name_has_words() -> None:
    assert set(TASKS) == set(TASK_NAMES)
    assert set(Recipe.model_json_schema()["properties"]["task"]["enum"]) == set(TASK_NAMES)


def test_every_task_has_a_head_that_students_can_have() -> None:
    assert {words.head for words in TASKS.values()} <= set(HEADS)


def test_a_score_is_put_in_words() -> None:
    assert TASKS["text-classification"].text(0.942) == "94.2 % right"
    assert TASKS["image-classification"].text(1 / 3, 2) == "33.33 % right"
