"""A password never gets into a recipe, nor into the error that says so."""

import pytest

from edgekd.database import checked_storage
from edgekd.errors import RecipeError
from edgekd.recipe import load_recipe

SECRET = "geheimnis"


@pytest.mark.parametrize(
    "text",
    [
        "trials.log", "/shared/trials.log", "env:TRIALS_URL", "file:~/.config/trials", "postgresql://db.lan/trials",
        "postgresql://me@db.lan:5433/trials", "postgresql+psycopg://me@[::1]/trials?sslmode=require",
    ],
)  # fmt: skip
def test_what_holds_no_password_is_taken(text: str) -> None:
    assert checked_storage(text) == text
    assert load_recipe("quickstart", [f'search.storage="{text}"']).search.storage == text


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:{SECRET}@db.lan/trials", f"postgresql://:{SECRET}@db.lan/trials",
        f"postgresql://me:{SECRET}@x@db.lan/trials", f"postgresql://db.lan/trials?password={SECRET}",
        f"postgresql+psycopg://me:{SECRET}@db.lan/trials", f"mysql://me:{SECRET}@db.lan/trials", f"me:{SECRET}@db.lan",
        f"postgres://me:{SECRET}@db.lan/trials", f"env:{SECRET}-x", "env:", "file:",
    ],
)  # fmt: skip
def test_what_may_hold_one_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(RecipeError, match=r"search\.storage: (found a password|expected)") as caught:
        load_recipe("quickstart", [f'search.storage="{text}"'])
    assert SECRET not in str(caught.value)
