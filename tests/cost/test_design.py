"""The students to measure: those that a fit learns most from."""

import numpy as np
from numpy.typing import NDArray

from edgekd.cost.columns import SpecColumns, count_columns
from edgekd.cost.design import crude_latency, designed
from edgekd.student import StudentSpec

TEACHER = StudentSpec(
    architecture="bert", layers=8, hidden=512, heads=8, ffn=2048, vocabulary=900, positions=128, token_types=2, labels=2
)
SPECS = [
    StudentSpec(
        **(TEACHER.to_dict() | {"layers": layers, "hidden": 64 * heads, "heads": heads, "kv_heads": heads, "ffn": ffn})
    )
    for layers in range(1, 9)
    for heads in range(1, 9)
    for ffn in (64, 512, 1024, 2048)
]


def terms(sequence: int = 64) -> dict[str, NDArray[np.float64]]:
    return dict(count_columns(SpecColumns.of(SPECS, TEACHER), ("fp32",), batch=1, sequence=sequence).terms)


def log_volume(columns: dict[str, NDArray[np.float64]], picked: list[int]) -> float:
    rows = np.stack([np.ones(len(SPECS)), *columns.values()], axis=1) / crude_latency(columns)[:, None]
    rows = rows[:, rows.any(axis=0)]
    rows /= np.sqrt(np.square(rows).mean(axis=0))
    return float(np.linalg.slogdet(rows[picked].T @ rows[picked] + 1e-3 * np.eye(rows.shape[1]))[1])


def test_a_design_knows_more_than_any_of_many_random_ones() -> None:
    columns = terms()
    rng = np.random.default_rng(0)
    best = max(log_volume(columns, list(rng.permutation(len(SPECS))[:15])) for _ in range(200))
    assert log_volume(columns, designed(columns, 15)) > best + 1


def test_a_design_is_the_same_every_time_without_repetition_and_reaches_the_ends() -> None:
    columns = terms()
    picked = designed(columns, 20)
    assert picked == designed(columns, 20)
    assert len(set(picked)) == 20
    layers = {SPECS[index].layers for index in picked}
    assert {1, 8} <= layers
    assert {64, 2048} <= {SPECS[index].ffn for index in picked}


def test_students_that_were_measured_are_not_chosen_and_are_counted_in() -> None:
    columns = terms()
    first = designed(columns, 5)
    assert designed(columns, 5, taken=first) == designed(columns, 10)[5:]


def test_there_are_never_more_students_than_there_are() -> None:
    columns = {name: values[:4] for name, values in terms().items()}
    assert sorted(designed(columns, 9)) == [0, 1, 2, 3]


def test_the_crude_latency_ranks_as_work_does() -> None:
    columns = terms()
    order = np.argsort(crude_latency(columns))
    assert SPECS[order[0]].layers == 1
    assert SPECS[order[-1]] == SPECS[-1]
