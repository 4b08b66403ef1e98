"""One model in one process: load it, feed it, time it."""

from __future__ import annotations

import contextlib
import gc
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Type

from .facts import field, kilobytes, read_text, system_root
from .failures import AgentError, first_line, module, runtime_errors
from .inputs import make_feeds
from .steps import count
from .stretch import at_hand, stretch

MIN_WARMUP_RUNS, MAX_SAMPLES = 3, 2000000
NS_PER_S = 1000000000
PROVIDER = "CPUExecutionProvider"
TOO_LITTLE = "the board has too little memory for the model and its inputs"
ONE_FILE = "store it as one, python -c \"import onnx; onnx.save(onnx.load('MODEL.onnx'), 'ONE.onnx')\""


def clock() -> Tuple[str, Callable[[], int]]:
    """The name and the reader of the steadiest clock here; RAW is not bent by time synchronisation."""
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    if raw is None:
        return "monotonic", time.monotonic_ns
    return "CLOCK_MONOTONIC_RAW", lambda: time.clock_gettime_ns(raw)


def open_session(path: str, threads: int) -> Any:
    ort = module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(path, options, providers=[PROVIDER])
    except runtime_errors() as error:
        said = "onnxruntime %s cannot load the model: %s" % (ort.__version__, first_line(error))
        if "external data" in said.lower():
            said += ". Its weights lie in another file, which is not sent: " + ONE_FILE
        raise AgentError("model", said) from None


class Model:
    """A loaded model and the inputs it is timed with."""

    def __init__(self, path: str, spec: Dict[str, Any], stored: Optional[str] = None) -> None:
        _, self._now = clock()
        start = self._now()
        self.session = open_session(path, spec["threads"])
        self.load_ns = self._now() - start
        self.feeds = make_feeds(self.session, spec, stored)

    @property
    def shapes(self) -> Dict[str, List[int]]:
        return {name: [int(size) for size in array.shape] for name, array in self.feeds.items()}

    def time_ns(self) -> int:
        """One inference."""
        start = self._now()
        self.session.run(None, self.feeds)
        return self._now() - start


def warm_up(models: List[Model], duration_s: float, now: Callable[[], int], most: int) -> List[int]:
    """Times of the last of `models`, taken in turns until the duration is over; no more than the first `most`."""
    times = []  # type: List[int]
    end = now() + int(duration_s * NS_PER_S)
    while len(times) < MIN_WARMUP_RUNS or now() < end:
        for model in models[:-1]:
            model.time_ns()
        times.append(models[-1].time_ns())
        count()
        del times[max(most, MIN_WARMUP_RUNS) :]
    return times


def plain_run(model: Model, spec: Dict[str, Any]) -> Dict[str, Any]:
    """Back-to-back inferences until they are enough and lasted long enough, or reach the limit of time or number."""
    _, now = clock()
    first_ns = model.time_ns()
    most = spec.get("max_samples", MAX_SAMPLES)
    warmup_ns = warm_up([model], spec["warmup_s"], now, most // 2)
    samples = []  # type: List[int]
    start = now()
    enough, limit = start + int(spec["min_duration_s"] * NS_PER_S), start + int(spec["max_duration_s"] * NS_PER_S)
    while True:
        samples.append(model.time_ns())
        count()
        moment = now()
        done = moment >= enough and len(samples) >= spec["min_samples"]
        if done or moment >= limit or len(samples) >= most - len(warmup_ns):
            break
    return {"load_ns": model.load_ns, "first_ns": first_ns, "warmup_ns": warmup_ns, "samples_ns": samples}


def paired_run(model: Model, sentinel: Model, spec: Dict[str, Any]) -> Dict[str, Any]:
    """Sentinel, model, sentinel, model, …, sentinel: as many pairs as wanted, and as long as wanted.

    Beside each time stands that which the thread had a processor for: with one thread it is the whole inference, less
    what the system spent on other programs meanwhile.
    """
    _, now = clock()
    warm_up([sentinel, model], spec["warmup_s"], now, 0)
    times = {id(sentinel): [], id(model): []}  # type: Dict[int, List[Tuple[int, int]]]

    def take(which: Model) -> None:
        began = time.thread_time_ns()
        wall_ns = which.time_ns()
        times[id(which)].append((wall_ns, time.thread_time_ns() - began))
        count()

    start = now()
    enough, limit = start + int(spec["min_duration_s"] * NS_PER_S), start + int(spec["max_duration_s"] * NS_PER_S)
    take(sentinel)
    done = 0
    while not done or (now() < limit and done < spec["max_pairs"] and not (done >= spec["pairs"] and now() >= enough)):
        take(model)
        take(sentinel)
        done += 1
    run = {"load_ns": model.load_ns}  # type: Dict[str, Any]
    for name, which in (("model", model), ("sentinel", sentinel)):
        run[name + "_ns"] = [wall_ns for wall_ns, _ in times[id(which)]]
        if spec["threads"] == 1:
            run[name + "_thread_ns"] = [thread_ns for _, thread_ns in times[id(which)]]
    return run


def loaded(path: str, spec: Dict[str, Any], stored: Optional[str]) -> Model:
    try:
        return Model(path, spec, stored)
    except MemoryError:
        raise AgentError("memory", TOO_LITTLE) from None
    except ValueError as error:  # as numpy's, of an array beyond what numbers of bytes can say
        raise AgentError("shape", "inputs of these shapes cannot be made: %s" % first_line(error)) from None


def measured(path: str, spec: Dict[str, Any]) -> Dict[str, Any]:
    """One run of the model at `path`; with `energy_s`, the model alone for so long where the board has rails."""
    errors = runtime_errors()
    energy_s = spec.get("energy_s", 0.0)
    with at_hand(system_root(), energy_s) as meter:
        model, run = _timed(path, spec, errors)
        if meter is not None:
            with _told(errors):
                run["energy"] = stretch(model.time_ns, meter, energy_s, spec["threads"])
    # The most physical memory this process ever held; getrusage is not asked, it inherits from the parent.
    peak = kilobytes(field(read_text("/proc/self/status"), "VmHWM"))
    run.update(peak_memory_bytes=peak, peak_memory_source="VmHWM" if peak else None)
    return {"shapes": model.shapes, "run": run}


def _timed(path: str, spec: Dict[str, Any], errors: Tuple[Type[BaseException], ...]) -> Tuple[Model, Dict[str, Any]]:
    sentinel = loaded(spec["sentinel"], dict(spec, shapes={}), None) if spec["mode"] == "paired" else None
    model = loaded(path, spec, spec["input_data"])
    gc.collect()
    with _told(errors):
        return model, plain_run(model, spec) if sentinel is None else paired_run(model, sentinel, spec)


@contextlib.contextmanager
def _told(errors: Tuple[Type[BaseException], ...]) -> Iterator[None]:
    """Inside nothing is collected, and what goes wrong is told."""
    gc.disable()
    try:
        yield
    except errors as error:
        kind = "input" if type(error).__name__ == "InvalidArgument" else "runtime"
        raise AgentError(kind, "onnxruntime cannot run the model: %s" % first_line(error)) from None
    except MemoryError:
        raise AgentError("memory", TOO_LITTLE) from None
    finally:
        gc.enable()
