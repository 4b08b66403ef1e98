"""What a dry run tells of the data: what a run would begin with, found without a model and without a download."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.errors import DataError, MissingExtra
from edgekd.pipeline.context import DATA_JSON, Context, data_used
from edgekd.report.data import part_rows
from edgekd.report.run import DataFile, read_data
from edgekd.report.terminal import table, warning_lines
from edgekd.units import text_from_share


@dataclass(frozen=True, slots=True)
class Outlook:
    """Lines for the user; `refusal` is the error that a run would end with."""

    lines: tuple[str, ...]
    refusal: DataError | None = None


def data_outlook(context: Context, *, current: bool) -> Outlook:
    """What is known of the data: from data.json when the step teacher is `current`, else by reading the data now.

    Nothing is fetched: what cannot be read here (a hub data set, without a library) is said to be unknown.
    Errors: RecordError for a damaged data.json.
    """
    known = _kept(context) if current else None
    if known is not None:
        return Outlook(_lines(known), _refusal(known, context))
    source = data_used(context.recipe.data, context.base).source
    if source.startswith("hub:"):
        return Outlook((f"data not looked at: {source} is on the hub, and a dry run fetches nothing",))
    try:
        found = DataFile.model_validate(context.checks.to_dict())
    except MissingExtra as error:
        return Outlook((f"data not looked at: {error}",))
    except DataError as error:
        return Outlook(("data refused",), error)
    return Outlook(_lines(found))


def refuse_kept(context: Context) -> None:
    """Nothing, unless a run before, whose teacher is kept, has found more leakage than the recipe allows by now.

    Errors: DataError, and RecordError for a damaged data.json.
    """
    known = _kept(context)
    refusal = None if known is None else _refusal(known, context)
    if refusal is not None:
        raise refusal


def _kept(context: Context) -> DataFile | None:
    path = context.path(DATA_JSON)
    return read_data(path) if path.exists() else None


def _refusal(file: DataFile, context: Context) -> DataError | None:
    most = data_used(context.recipe.data, context.base).max_leakage
    for leak in file.leakage:
        if (leak.part, leak.other) == ("test", "train") and leak.share > most:
            return DataError(
                f"{context.path(DATA_JSON)}: {text_from_share(leak.share)} of the test part also stand in the training "
                f"part, expected at most {text_from_share(most)} (data.max_leakage). Set data.drop_leaked: true to "
                "train without them, or name another test part"
            )
    return None


def _lines(file: DataFile) -> tuple[str, ...]:
    dropped = f", {file.dropped} training examples left out (data.drop_leaked)" if file.dropped else ""
    return (f"data{dropped}", *table(part_rows(file)), *warning_lines(file.warnings))
