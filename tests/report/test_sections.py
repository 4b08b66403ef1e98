"""Choice, training, latency: complete, and with the later files missing."""

from dataclasses import replace

from page_reader import Page

from edgekd.report.run import RunFolder
from edgekd.report.sections import choice, latency, limits_of, training
from edgekd.sizing.files import ErrorRow


def test_the_choice_says_how_many_and_why(whole: RunFolder) -> None:
    assert whole.students is not None
    read = Page(choice(whole).text)
    assert "Predicted and measured latency of 36 students" in read.said
    assert "40 combinations considered" in read.said
    assert whole.students.reason in read.said
    assert set(read.figures) == {"pareto-data"}


def test_every_measured_candidate_is_in_the_table(whole: RunFolder) -> None:
    assert whole.sizing is not None
    said = Page(choice(whole).text).said
    assert all(name in said for name in whole.sizing.measurements)


def test_the_energy_that_a_rail_told_has_a_column(whole: RunFolder) -> None:
    assert whole.sizing is not None
    assert "energy of an inference" not in Page(choice(whole).text).said
    (name, first), *rest = whole.sizing.measurements.items()
    told = {name: first.model_copy(update={"energy_j": 2.5e-3, "rail": "VDD_IN"}), **dict(rest)}
    said = Page(choice(replace(whole, sizing=whole.sizing.model_copy(update={"measurements": told}))).text).said
    assert "energy of an inference" in said
    assert said.count("2.50 mJ (VDD_IN)") == 1


def test_the_choice_says_how_far_off_the_predictions_were(whole: RunFolder) -> None:
    assert whole.sizing is not None
    error = ErrorRow(candidates=10, held=9, median=0.034, worst=0.12)
    said = Page(choice(replace(whole, sizing=whole.sizing.model_copy(update={"error": error}))).text).said
    assert "The 10 finalists were predicted before they were measured" in said
    assert "off by 3.4 % in the median and 12.0 % at worst, 9 within their bars" in said
    alone = replace(whole, sizing=whole.sizing.model_copy(update={"error": None}))
    assert "were predicted before" not in Page(choice(alone).text).said


def test_a_space_too_large_to_list_says_what_is_shown(whole: RunFolder) -> None:
    assert whole.sizing is not None
    assert whole.students is not None
    front = whole.sizing.front.model_copy(update={"candidates": 70_000, "within": 0.05})
    searched = replace(
        whole,
        students=whole.students.model_copy(update={"considered": 10**9, "possible": None}),
        sizing=whole.sizing.model_copy(update={"front": front}),
    )
    said = Page(choice(searched).text).said
    assert "1000000000 combinations searched" in said
    assert "36 of them listed" in said
    assert "of the 70000 candidates on the front are listed" in said
    assert "may have up to 5.0 % more parameters" in said
    some = replace(whole, students=whole.students.model_copy(update={"possible": 20_000}))
    assert "20000 of them students" in Page(choice(some).text).said
    part = front.model_copy(update={"within": None})
    unsure = replace(whole, sizing=whole.sizing.model_copy(update={"front": part}))
    assert "an even part of the space" in Page(choice(unsure).text).said


def test_a_prediction_alone_says_so(whole: RunFolder) -> None:
    assert whole.sizing is not None
    alone = replace(whole, sizing=whole.sizing.model_copy(update={"measurements": {}, "fits": {}}))
    assert "nothing was measured" in Page(choice(alone).text).said


def test_the_training_says_where_it_began_and_why_it_ended(whole: RunFolder) -> None:
    read = Page(training(whole).text)
    assert "started from the teacher's layers 1, 3, 6" in read.said
    assert "all epochs were run" in read.said
    assert "ended early, when further epochs brought nothing" in read.said
    assert "(cross entropy 0.114 and 0.0981)" in read.said
    assert "The last epoch, on labels alone, was not kept" in read.said
    assert "gives its teacher's answer on 97.2 %" in read.said
    assert "Warning" not in read.said
    assert "Accuracy by epoch" in read.said
    assert "From epoch 41 the student learned from labels alone" in read.said
    assert set(read.figures) == {"score-data", "loss-data"}


def test_a_student_that_only_imitates_is_warned_of(whole: RunFolder) -> None:
    assert whole.student is not None
    student = whole.student.model_copy(update={"warning": "it imitates <b>"})
    read = Page(training(replace(whole, student=student)).text)
    assert "Warning: it imitates <b>." in read.said
    assert ("p", {"class": "warning"}) in read.elements


def test_a_teacher_taken_as_it_is_has_no_curves(whole: RunFolder) -> None:
    assert whole.teacher is not None
    teacher = whole.teacher.model_copy(update={"history": [], "best_epoch": None, "stopped": None, "trained": False})
    read = Page(training(replace(whole, teacher=teacher, student=None)).text)
    assert "taken as it is" in read.said
    assert read.figures == {}
    assert "edgekd distill quickstart" in read.said


def test_the_latency_names_its_samples_and_limits(whole: RunFolder) -> None:
    read = Page(latency(whole).text)
    assert "3000 inferences of 3 artifacts" in read.said
    assert "All samples are drawn." in read.said
    assert limits_of(whole) == [("p50", 0.5, 0.001), ("p95", 0.95, 0.002)]


def test_limits_come_from_the_sizing_until_there_is_a_verdict(whole: RunFolder) -> None:
    assert limits_of(replace(whole, verdict=None)) == limits_of(whole)
    assert limits_of(replace(whole, verdict=None, sizing=None)) == []


def test_many_samples_are_said_to_be_thinned(whole: RunFolder) -> None:
    runs = [run.model_copy(update={"samples_ns": run.samples_ns * 20}) for run in whole.latency[0].runs]
    many = replace(whole, latency=(whole.latency[0].model_copy(update={"runs": runs}),))
    assert "of each stretch" in Page(latency(many).text).said


def test_each_section_of_an_unfinished_run_names_its_command(sized_only: RunFolder) -> None:
    assert "edgekd distill quickstart" in Page(training(sized_only).text).said
    assert "edgekd run quickstart" in Page(latency(sized_only).text).said
    assert "edgekd size quickstart" in Page(choice(replace(sized_only, students=None)).text).said
    assert "edgekd teacher quickstart" in Page(training(replace(sized_only, teacher=None)).text).said
