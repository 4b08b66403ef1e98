"""What the inputs of a matrix of 4 bits cost that are left over of whole strides, on this machine.

    python benchmarks/predictor/strides.py [--write]

Single MatMulNBits as `edgekd.export.weight_only` makes them, over the number of inputs, for one row and for many. The
numbers behind the term TAILS of edgekd/cost/tails.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))
from evidence import table_text, write_results

from edgekd.bench.agent.facts import lasting_facts
from edgekd.cost.count import BLOCK
from edgekd.cost.tails import STRIDE, left_over
from edgekd.export.weight_only import four_bits
from edgekd.record import HostFacts

NAME = "predictor_strides"
INPUTS = range(128, 513, BLOCK)
OUTPUTS = 512
ROWS = (1, 16, 64)
ROUNDS, ROUND_S = 5, 0.02


def session_of(inputs: int) -> ort.InferenceSession:
    """One product with a matrix of 4 bits, on one thread."""
    weights = np.random.default_rng(0).standard_normal((inputs, OUTPUTS)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", OUTPUTS])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    fp32 = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    model: onnx.ModelProto = four_bits(fp32, "product")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def runner(inputs: int, rows: int) -> Callable[[], object]:
    """A call that multiplies `rows` rows once."""
    session = session_of(inputs)
    values = np.random.default_rng(1).standard_normal((rows, inputs)).astype(np.float32)
    bound = session.io_binding()
    bound.bind_cpu_input("x", values)
    bound.bind_output("y")
    return lambda: session.run_with_iobinding(bound)


def least_s(run: Callable[[], object]) -> float:
    """The shortest of the calls within ROUND_S, of eight at least."""
    found: list[float] = []
    end = time.perf_counter() + ROUND_S
    while len(found) < 8 or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return min(found)


def measured(rows: int) -> dict[int, float]:
    """Nanoseconds per number that is made, by inputs; all sizes in turns, the least of ROUNDS."""
    runs = {inputs: runner(inputs, rows) for inputs in INPUTS}
    rounds = [{inputs: least_s(run) for inputs, run in runs.items()} for _ in range(ROUNDS)]
    return {inputs: min(one[inputs] for one in rounds) / rows / OUTPUTS * 1e9 for inputs in INPUTS}


def beyond(found: Mapping[int, float]) -> list[float]:
    """What one, two and three blocks left over take beyond their share of a stride, in strides: medians of them all."""
    extra: dict[int, list[float]] = {blocks: [] for blocks in range(1, STRIDE)}
    whole = STRIDE * BLOCK
    for start in range(INPUTS[0], INPUTS[-1], whole):
        stride = found[start + whole] - found[start]
        for blocks, values in extra.items():
            values.append((found[start + blocks * BLOCK] - found[start]) / stride - blocks / STRIDE)
    return [median(values) for values in extra.values()]


def main() -> int:
    """Measure, print, and with --write store the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    times = {rows: measured(rows) for rows in ROWS}
    names = [f"{rows} rows" if rows > 1 else "1 row" for rows in ROWS]
    columns = ("inputs", "blocks left over", "counted as", *names)
    sizes = {inputs: map(str, (inputs, inputs // BLOCK % STRIDE, left_over(inputs))) for inputs in INPUTS}
    lines = [[*size, *(f"{found[inputs]:.2f}" for found in times.values())] for inputs, size in sizes.items()]
    share = [
        [name, *(f"{value:.2f}" for value in beyond(found))] for name, found in zip(names, times.values(), strict=True)
    ]
    text = (
        f"Nanoseconds for each number that a product with {OUTPUTS} outputs makes, by its inputs. A stride is "
        f"{STRIDE} blocks of {BLOCK} inputs;\n`counted as` is what edgekd/cost/tails.py makes of those left over.\n\n"
        + table_text(columns, lines)
        + "\n\nWhat the blocks left over take beyond their share of a stride, in strides (medians):\n\n"
        + table_text(("", "one", "two", "three"), share)
    )
    if not chosen.write:
        print(text)
        return 0
    host = HostFacts.model_validate({"name": "local", **lasting_facts()})
    numbers = {"ns": {str(rows): {str(inputs): ns for inputs, ns in found.items()} for rows, found in times.items()}}
    write_results(NAME, "Inputs of 4-bit matrices outside whole strides", text, numbers, host)
    return 0


if __name__ == "__main__":
    sys.exit(main())
