"""The starts in the report: told in a sentence, listed in a table, and left out where there were none."""

from __future__ import annotations

from page_reader import Page

from edgekd.report.run import ComparedStart, Initialisation, RunFolder
from edgekd.report.sections import training
from edgekd.report.starts import layers_text, start_text, starts_part


def compared(method: str, trained: float | None, steps: int = 20) -> ComparedStart:
    return ComparedStart(method=method, layers=[0, 2], initial_loss=1.5, steps=steps, trained_loss=trained)


def test_the_start_is_told_in_a_sentence() -> None:
    assert start_text(Initialisation()) == ""
    assert start_text(Initialisation(layer_map=[0])) == "It started from the teacher's layer 1."
    assert start_text(Initialisation(method="random")) == "It started from random weights."
    begun = Initialisation(method="importance", layer_map=[0, 2], compared=[compared("importance", 0.4)] * 3)
    assert start_text(begun) == (
        "It started from the teacher's layers 1, 3, by what matters most on inputs: the best of 3 starts."
    )
    assert layers_text([]) == ""


def test_a_method_of_a_later_version_keeps_its_name() -> None:
    assert "by grafting" in start_text(Initialisation(method="grafting", layer_map=[0]))


def test_every_start_is_listed_with_what_came_of_it() -> None:
    listed = starts_part(
        Initialisation(compared=[compared("rotation", 0.41), compared("uniform", None), compared("random", None, 0)])
    )
    assert listed is not None
    said = Page(listed.text).said
    assert "The 3 starts that were compared" in said
    assert "principal directions, layers 1, 3" in said
    assert "0.4100" in said
    assert said.count("diverged") == 1
    assert said.count("chosen") == 1


def test_one_start_alone_is_no_table() -> None:
    assert starts_part(Initialisation(compared=[compared("uniform", None, 0)])) is None


def test_the_section_about_the_training_shows_them(whole: RunFolder) -> None:
    said = Page(training(whole).text).said
    assert "by principal directions: the best of 3 starts." in said
    assert "The 3 starts that were compared" in said
