"""How long does the search over students take, what memory, and does a search find what looking at each would?

Spaces of a thousand and a million candidates (a student in one precision) are sized, held against limits and sorted
into their Pareto set, each several times in a process of its own. Larger ones are searched. Spaces small enough to look
at every student are searched as well, and both answers compared.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from evidence import table_text, write_results

from edgekd.bench.agent.facts import lasting_facts
from edgekd.device import load_profile
from edgekd.recipe import Search
from edgekd.record import HostFacts
from edgekd.sizing import supply
from edgekd.sizing.search import Sizing, size
from edgekd.sla import Sla
from edgekd.space import Space
from edgekd.student import StudentSpec

REPEATS = 5
PRECISIONS = ("fp32", "int8")
BERT = StudentSpec(
    architecture="bert", layers=24, hidden=1024, heads=16, ffn=4096, vocabulary=30522, positions=512, token_types=2,
    labels=2,
)  # fmt: skip
LLAMA = StudentSpec(
    architecture="llama", layers=32, hidden=4096, heads=32, kv_heads=8, ffn=11008, vocabulary=32000, positions=2048
)
STEPS: Mapping[str, Any] = {"layers": {"from": 1, "to": 24}, "hidden": {"from": 64, "to": 1024, "step": 64}}
SPACES: Mapping[str, tuple[StudentSpec, dict[str, Any]]] = {
    "10^3": (BERT, {**STEPS, "ffn": [2048, 4096], "min_share": 0.0}),
    "10^6": (BERT, {**STEPS, "ffn": {"from": 190, "to": 4096, "step": 3}, "min_share": 0.0}),
    "2 x 10^6": (BERT, {**STEPS, "ffn": {"from": 1493, "to": 4096}, "min_share": 0.0}),
    "10^9, BERT": (BERT, {
        "layers": {"from": 1, "to": 24}, "hidden": {"from": 1, "to": 1024}, "head_dim": [16, 32, 64],
        "ffn": {"from": 1, "to": 4096}, "sequence": [32, 64, 96, 128],
    }),
    "10^9, Llama": (LLAMA, {
        "layers": {"from": 1, "to": 32}, "hidden": {"from": 128, "to": 4096, "step": 128},
        "heads": {"from": 1, "to": 32}, "kv_heads": {"from": 1, "to": 8}, "ffn": {"from": 64, "to": 11008},
    }),
}  # fmt: skip
SMALL: Mapping[str, tuple[StudentSpec, dict[str, Any]]] = {
    "layers, hidden, ffn": (BERT, {
        "layers": [2, 4, 6, 8, 12], "hidden": {"from": 64, "to": 1024, "step": 64},
        "ffn": {"from": 64, "to": 4096, "step": 64},
    }),
    "and head_dim, lengths": (BERT, {
        "layers": [1, 2, 4, 8], "hidden": {"from": 32, "to": 1024, "step": 32}, "head_dim": [32, 64],
        "ffn_ratio": [0.5, 1.0, 2.0, 3.0, 4.0], "sequence": [32, 64, 128],
    }),
    "heads and key heads": (LLAMA, {
        "layers": {"from": 1, "to": 8}, "hidden": {"from": 128, "to": 4096, "step": 128}, "heads": [1, 2, 4, 8, 16, 32],
        "kv_heads": [1, 2, 4, 8], "ffn": {"from": 512, "to": 11008, "step": 512}, "min_share": 0.0,
    }),
    "a tie": (BERT, {
        "layers": {"from": 1, "to": 16}, "ties": {"hidden": "64 * layers"}, "ffn": {"from": 8, "to": 4096},
        "min_share": 0.0,
    }),
}  # fmt: skip


def main() -> None:
    """Time every space, compare the small ones, and write results/predictor_search."""
    timed = {name: _medians(name) for name in SPACES}
    compared = {name: _compared(*SMALL[name]) for name in SMALL}
    text = (
        "Sizing without measuring on the roofline of raspberry-pi-5, p95 and memory limited, fp32 and int8: every "
        "student counted, held against the\nlimits, sorted into the Pareto set. Medians of "
        f"{REPEATS} processes; times are of the processor, memory is the peak of the whole process.\n\n"
        + table_text(
            ("space", "combinations", "candidates", "time", "choice proven", "front", "front within", "peak memory"),
            [_timed_row(name, found) for name, found in timed.items()],
        )
        + "\n\nBeyond a million combinations the space is searched and candidates are not counted. A proven choice is "
        "that of looking at each; the\nfront is that of a part of the space, which others exceed in parameters by at "
        "most the share told (0: exact).\n\nSearched and looked at whole:\n\n"
        + table_text(
            ("space", "combinations", "students", "on the front", "same front", "same choice"),
            [_compared_row(name, found) for name, found in compared.items()],
        )
    )
    host = HostFacts.model_validate({"name": "local", **lasting_facts()})
    write_results("predictor_search", "The search over students", text, {"timed": timed, "compared": compared}, host)


def _medians(name: str) -> dict[str, Any]:
    runs = []
    for _ in range(REPEATS):
        done = subprocess.run([sys.executable, __file__, "--one", name], check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    return {**runs[0], **{key: median(run[key] for run in runs) for key in ("cpu_s", "peak_bytes")}}


def _one(name: str) -> dict[str, Any]:
    teacher, choices = SPACES[name]
    space = Space.model_validate(choices)
    begin = time.process_time()
    found = _sized(teacher, space)
    candidates = None if found.possible is None else found.possible * len(PRECISIONS)
    front = len(found.standing.front)
    return {
        "cpu_s": time.process_time() - begin,
        "combinations": found.considered,
        "candidates": candidates,
        "front": front,
        "within": found.within,
        "proven": not any("cut short" in warning for warning in found.warnings),
        "chosen": found.chosen.name if found.chosen else None,
        # Linux counts in units of 1024 bytes.
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _sized(teacher: StudentSpec, space: Space) -> Sizing:
    limits = {"latency": {"p95": "50 ms"}, "memory": "300 MB"} if teacher is BERT else {"latency": {"p95": "2 s"}}
    return size(
        teacher, space, Sla.model_validate(limits), load_profile("raspberry-pi-5"), Search(), precisions=PRECISIONS,
        batch=1, sequence=128, threads=1, measure=None,
    )  # fmt: skip


def _compared(teacher: StudentSpec, choices: Mapping[str, Any]) -> dict[str, Any]:
    space = Space.model_validate(choices)
    whole = _sized(teacher, space)
    usual = supply.MOST_COMBINATIONS, supply.SAMPLED
    # Nothing is looked at whole, and the sample that calibrates is too small to hold the answer.
    supply.MOST_COMBINATIONS, supply.SAMPLED = 0, 20
    try:
        searched = _sized(teacher, space)
    finally:
        supply.MOST_COMBINATIONS, supply.SAMPLED = usual
    fronts = [set(found.standing.pareto) for found in (whole, searched)]
    chosen = [found.chosen.name if found.chosen else None for found in (whole, searched)]
    return {
        "combinations": whole.considered,
        "students": whole.possible,
        "front": len(fronts[0]),
        "looked_at": len(searched.students),
        "within": searched.within,
        "same_front": fronts[0] == fronts[1],
        "same_choice": chosen[0] == chosen[1] is not None,
        "chosen": chosen[0],
    }


def _timed_row(name: str, found: Mapping[str, Any]) -> list[str]:
    candidates = "-" if found["candidates"] is None else str(found["candidates"])
    within = "unknown" if found["within"] is None else f"{found['within']:.0%}"
    numbers = [str(found["combinations"]), candidates, f"{found['cpu_s']:.2f} s", "yes" if found["proven"] else "NO"]
    numbers += [str(found["front"]), within]
    return [name, *numbers, f"{found['peak_bytes'] / 1e6:.0f} MB"]


def _compared_row(name: str, found: Mapping[str, Any]) -> list[str]:
    told = ["yes" if found[key] else "NO" for key in ("same_front", "same_choice")]
    return [name, *(str(found[key]) for key in ("combinations", "students", "front")), *told]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(_one(sys.argv[2])))
    else:
        main()
