"""Whether a limit on energy could be applied at all, found out before minutes are spent on a student."""

from __future__ import annotations

from pathlib import Path

from edgekd.cost.energy import power_budget_w
from edgekd.cost.stored import read_calibrations
from edgekd.errors import InputError
from edgekd.files import read_json
from edgekd.pipeline.context import TEACHER_JSON, Context
from edgekd.pipeline.recipe_teacher import recipe_teacher
from edgekd.probe.facts import ask
from edgekd.student import StudentSpec
from edgekd.text import listing, printable
from edgekd.vitals import INPUT_RAILS


def check_energy(context: Context) -> None:
    """Refuse sla.energy where neither a rail of the host nor a model of the device tells the energy of a student.

    Where only a model does, it warns that nothing will judge the trained student.
    Errors: InputError that says what to do; HostError and MeasureError when the host cannot be asked.
    """
    if context.recipe.sla.energy is None:
        return
    profile, modelled = context.profile, _modelled(context)
    with context.open_host() as host:
        rails, name = ask(host).sensors.rails, host.name
    if any(rail in INPUT_RAILS for rail in rails):
        return
    found = f"found {printable(listing(rails), 120)}" if rails else "found none"
    lacking = f"{name} measures no rail that feeds the whole board ({found}, expected {' or '.join(INPUT_RAILS)})"
    if modelled is not None:
        context.progress.warn(
            f"sla.energy: {lacking}, so students are chosen by {modelled} alone, and edgekd gate will not be able to "
            "judge the energy of the trained one: the run ends inconclusive"
        )
        return
    raise InputError(
        f"sla.energy: nothing tells the energy of a student: {lacking}, and the device {profile.name} has neither a "
        "calibration with energy for these students nor a power budget. Measure on a board with such a rail, name a "
        "profile that edgekd devices calibrate made on one, or remove sla.energy"
    )


def _modelled(context: Context) -> str | None:
    """What tells the energy of students that no rail told; None where nothing does. Errors: InputError, RecordError."""
    profile, recipe = context.profile, context.recipe
    if profile.calibration is not None:
        architecture = _architecture(context)
        told = {
            one.precision
            for one in read_calibrations(Path(profile.calibration))
            if one.energy is not None
            and (one.phase, one.threads) == ("whole", recipe.bench.threads)
            and architecture in (None, one.architecture)
        }
        if told.issuperset(recipe.precisions):
            return f"the calibration of {profile.name}"
    return None if power_budget_w(profile) is None else f"the power budget of {profile.name} (uncalibrated and wide)"


def _architecture(context: Context) -> str | None:
    """That of the teacher; None where only the step teacher will tell."""
    path = context.path(TEACHER_JSON)
    if path.is_file():
        return StudentSpec.from_dict(read_json(path)["spec"]).architecture
    try:
        return recipe_teacher(context, context.recipe.name).architecture
    except InputError:
        return None
