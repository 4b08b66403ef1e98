"""What runs on the board: `python agent.py spec.json result.json`. One file; Python 3.8, numpy and onnxruntime suffice.

It takes raw times and says what the board is like; everything that is a judgement happens elsewhere. The result is
written whole or not at all. A failure that was to be expected ends in a result {"error": {"kind", "message"}} and exit
status 3, so that the other side can say it in its own words; every other failure is a bug and shows its traceback.

One agent at a time works in a workspace, its current folder: it locks the file LOCK there before it loads anything, as
long as it works. Agents in different workspaces of one board, or on a system without flock, do not see each other.

Kinds of errors: spec, busy (another agent works there), missing (a module), model, shape, input, memory, runtime.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Type

try:
    import fcntl
except ImportError:  # as on Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
EXIT_ERROR = 3
MIN_WARMUP_RUNS, MAX_SAMPLES = 3, 2000000
NS_PER_S = 1000000000
LOCK, LOCK_STEP_S, LOCK_WAIT_S = "lock", 0.5, 60.0
PROVIDER = "CPUExecutionProvider"
FLOATS = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
WIDTHS = (8, 16, 32, 64)
INTEGERS = {"tensor(%sint%d)" % (sign, bits): "%sint%d" % (sign, bits) for sign in ("", "u") for bits in WIDTHS}
DTYPES = {**FLOATS, **INTEGERS, "tensor(bool)": "bool"}


class AgentError(Exception):
    """A failure that was to be expected: its kind and its message."""


def clock() -> Tuple[str, Callable[[], int]]:
    """The name and the reader of the steadiest clock here; RAW is not bent by time synchronisation."""
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    if raw is None:
        return "monotonic", time.monotonic_ns
    return "CLOCK_MONOTONIC_RAW", lambda: time.clock_gettime_ns(raw)


def read_text(path: str, limit: int = 65536) -> Optional[str]:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            return stream.read(limit).strip("\0 \n\t")
    except OSError:
        return None


def read_int(path: str) -> Optional[int]:
    with contextlib.suppress(ValueError):
        return int(read_text(path) or "")
    return None


def field(text: Optional[str], *names: str) -> Optional[str]:
    """The value after 'name :' in the lines of `text`, for the first of `names` that occurs."""
    for name in names:
        for line in (text or "").splitlines():
            key, colon, value = line.partition(":")
            if colon and key.strip().lower() == name.lower() and value.strip():
                return value.strip()
    return None


def kilobytes(text: Optional[str]) -> Optional[int]:
    word = (text or "").split(" ")[0]
    return int(word) * 1024 if word.isdigit() else None


def temperature_c(root: str) -> Optional[float]:
    """The hottest zone that names the processor, or the hottest of all; None when there is none to believe."""
    zones = []
    for zone in map(str, Path(root + "sys/class/thermal").glob("thermal_zone*")):
        milli = read_int(zone + "/temp")
        if milli is not None and -40000 < milli < 150000 and milli != 0:
            zones.append(((read_text(zone + "/type") or "").lower(), milli / 1000))
    named = [value for kind, value in zones if any(word in kind for word in ("cpu", "soc", "pkg"))]
    return max(named or [value for _, value in zones], default=None)


def throttled(root: str) -> Optional[str]:
    """What the firmware says of throttling: a Raspberry Pi's bits in hex, or an Intel processor's count of events."""
    tool = shutil.which("vcgencmd")
    if tool:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run([tool, "get_throttled"], stdout=subprocess.PIPE, check=False, timeout=10).stdout
            name, _, value = said.decode("utf-8", "replace").strip().partition("=")
            return value[:32] if name == "throttled" and value else None
    count = read_int(root + "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count")
    return None if count is None else "%d throttle events" % count


def load() -> Optional[float]:
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def passing_facts(when: str, root: str = "/") -> Dict[str, Any]:
    """What changes while measuring; taken before and after."""
    return {"load_" + when: load(), "temperature_c_" + when: temperature_c(root), "throttled_" + when: throttled(root)}


def lasting_facts(root: str = "/") -> Dict[str, Any]:
    """What the board is."""
    board = read_text(root + "sys/firmware/devicetree/base/model")
    policy = root + "sys/devices/system/cpu/cpu0/cpufreq/"
    kilohertz = read_int(policy + "scaling_cur_freq")
    return {
        "machine": platform.machine(),
        "system": "%s %s" % (platform.system(), platform.release()),
        "python": platform.python_version(),
        "cpu": board or field(read_text(root + "proc/cpuinfo"), "model name", "hardware", "cpu model", "cpu"),
        "cores": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": kilobytes(field(read_text(root + "proc/meminfo"), "MemTotal")),
        "governor": read_text(policy + "scaling_governor"),
        "boot_id": read_text(root + "proc/sys/kernel/random/boot_id"),
        "clock_hz": None if kilohertz is None else kilohertz * 1000,
    }


def module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        said = "%s cannot be imported by %s (%s). Run there: %s -m pip install onnxruntime numpy"
        raise AgentError("missing", said % (name, sys.executable, error, sys.executable)) from None


def runtime_errors() -> Tuple[Type[BaseException], ...]:
    """Everything onnxruntime raises; its classes share no ancestor but Exception."""
    state = vars(module("onnxruntime.capi.onnxruntime_pybind11_state"))
    own = [value for value in state.values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, RuntimeError, ValueError, OSError)


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:600]


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
        raise AgentError("model", said) from None


def text_of(shape: List[Any]) -> str:
    return "x".join("?" if part is None else str(part) for part in shape)


def dimension(name: str, index: int, found: Any, dims: Dict[str, int], declared: List[Any]) -> int:
    if isinstance(found, int) and found >= 0:
        return found
    if found in dims:
        return dims[found]
    example = [part if isinstance(part, int) else dims.get(part, 64) for part in declared]
    free = repr(found) if isinstance(found, str) else "number %d" % (index + 1)
    said = "input %r has the free dimension %s (shape %s). Give its shape, such as --shape %s=%s"
    raise AgentError("shape", said % (name, free, text_of(declared), name, text_of(example)))


def shape_of(entry: Any, spec: Dict[str, Any]) -> List[int]:
    """The input's shape: as named for it, or as declared with `dims` for the free dimensions."""
    declared, given = list(entry.shape), spec["shapes"].get(entry.name)
    if given is None:
        return [dimension(entry.name, i, part, spec["dims"], declared) for i, part in enumerate(declared)]
    named = [have if isinstance(want, int) else want for want, have in zip(declared, given)]
    if len(given) != len(declared) or named != declared:
        words = (entry.name, text_of(declared), entry.name, text_of(given))
        raise AgentError("shape", "input %r has the shape %s, which --shape %s=%s does not fit" % words)
    return list(given)


def filled(entry: Any, shape: List[int], id_limit: int, random: Any) -> Any:
    """Values a model of this kind could get: what matters for time is their shape, and that they are no denormals."""
    np = module("numpy")
    name = entry.name.lower()
    if entry.type in FLOATS:
        return random.standard_normal(shape).astype(FLOATS[entry.type])
    if entry.type == "tensor(bool)" or (entry.type in INTEGERS and "mask" in name):
        return np.ones(shape, dtype=DTYPES[entry.type])
    if entry.type not in INTEGERS:
        raise AgentError("input", "input %r has the type %s, which edgekd cannot fill" % (entry.name, entry.type))
    if "token_type" in name or "position" in name:
        return np.zeros(shape, dtype=INTEGERS[entry.type])
    high = min(id_limit, int(np.iinfo(INTEGERS[entry.type]).max))
    return random.integers(0, high, size=shape).astype(INTEGERS[entry.type])


def stored_inputs(path: Optional[str], entries: List[Any]) -> Dict[str, Any]:
    """The arrays of the user's .npz, checked against what the model takes."""
    if path is None:
        return {}
    np = module("numpy")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise AgentError("input", "the input data are no .npz of plain arrays (%s)" % first_line(error)) from None
    types = {entry.name: entry.type for entry in entries}
    for name, array in arrays.items():
        if name not in types:
            raise AgentError("input", "the input data hold %r, the model takes %s" % (name, ", ".join(sorted(types))))
        if DTYPES.get(types[name]) != str(array.dtype):
            said = "the input data give %r as %s, the model takes %s" % (name, array.dtype, types[name])
            raise AgentError("input", said)
    return arrays


def make_feeds(session: Any, spec: Dict[str, Any], stored: Optional[str]) -> Dict[str, Any]:
    """One array for each input of the model."""
    np = module("numpy")
    entries = session.get_inputs()
    unknown = sorted(set(spec["shapes"]) - {entry.name for entry in entries})
    if unknown:
        words = (", ".join(map(repr, unknown)), ", ".join(entry.name for entry in entries))
        raise AgentError("shape", "--shape names %s, the model's inputs are %s" % words)
    arrays = stored_inputs(stored, entries)
    random = np.random.default_rng(spec["seed"])
    for entry in entries:
        if entry.name not in arrays:
            arrays[entry.name] = filled(entry, shape_of(entry, spec), spec["id_limit"], random)
    return arrays


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
        moment = now()
        done = moment >= enough and len(samples) >= spec["min_samples"]
        if done or moment >= limit or len(samples) >= most - len(warmup_ns):
            break
    return {"load_ns": model.load_ns, "first_ns": first_ns, "warmup_ns": warmup_ns, "samples_ns": samples}


def paired_run(model: Model, sentinel: Model, spec: Dict[str, Any]) -> Dict[str, Any]:
    """Sentinel, model, sentinel, model, …, sentinel."""
    _, now = clock()
    warm_up([sentinel, model], spec["warmup_s"], now, 0)
    limit = now() + int(spec["max_duration_s"] * NS_PER_S)
    sentinel_ns, model_ns = [sentinel.time_ns()], []  # type: List[int], List[int]
    while not model_ns or (len(model_ns) < spec["pairs"] and now() < limit):
        model_ns.append(model.time_ns())
        sentinel_ns.append(sentinel.time_ns())
    return {"load_ns": model.load_ns, "model_ns": model_ns, "sentinel_ns": sentinel_ns}


def measured(spec: Dict[str, Any]) -> List[Dict[str, Any]]:
    """One run of each model the spec names."""
    errors = runtime_errors()
    sentinel = Model(spec["sentinel"], dict(spec, shapes={})) if spec["mode"] == "paired" else None
    runs = []
    for path in spec["models"]:
        model = Model(path, spec, spec["input_data"])
        gc.collect()
        gc.disable()
        try:
            run = plain_run(model, spec) if sentinel is None else paired_run(model, sentinel, spec)
        except errors as error:
            kind = "input" if type(error).__name__ == "InvalidArgument" else "runtime"
            raise AgentError(kind, "onnxruntime cannot run the model: %s" % first_line(error)) from None
        finally:
            gc.enable()
        # The most physical memory this process ever held; getrusage is not asked, it inherits from the parent.
        peak = kilobytes(field(read_text("/proc/self/status"), "VmHWM"))
        run.update(peak_memory_bytes=peak, peak_memory_source="VmHWM" if peak else None)
        runs.append({"shapes": model.shapes, "run": run})
    return runs


def read_spec(path: str) -> Dict[str, Any]:
    try:
        spec = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AgentError("spec", "the spec cannot be read (%s)" % first_line(error)) from None
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        raise AgentError("spec", "the spec is not of format %d, which this agent reads" % FORMAT)
    return spec


def result_for(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Everything that is sent back."""
    host = lasting_facts()
    host.update(passing_facts("before"))
    module("numpy")
    ort = module("onnxruntime")
    try:
        runs = measured(spec)
    except MemoryError:
        raise AgentError("memory", "the board has too little memory for the model and its inputs") from None
    host.update(passing_facts("after"))
    names = {"name": "onnxruntime", "version": ort.__version__, "providers": [PROVIDER], "threads": spec["threads"]}
    return {"format": FORMAT, "host": host, "runtime": names, "clock": clock()[0], "runs": runs}


@contextlib.contextmanager
def alone(wait_s: float) -> Iterator[None]:
    """No other agent works in this workspace meanwhile. The kernel frees the lock of a dead process, not the file."""
    end = time.monotonic() + wait_s
    with Path(LOCK).open("ab") as stream:
        while fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    said = "another measurement runs there, in %s, still after %g s. Run again when it has ended"
                    raise AgentError("busy", said % (Path.cwd(), wait_s)) from None
            time.sleep(LOCK_STEP_S)
        yield


def write_result(path: str, result: Dict[str, Any]) -> None:
    part = Path(path + ".part")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.replace(path)


def main(argv: List[str]) -> int:
    """The exit status: 0 with a result, 3 with an error in its place."""
    spec_path, result_path = argv[1], argv[2]
    try:
        spec = read_spec(spec_path)
        with alone(spec.get("lock_wait_s", LOCK_WAIT_S)):
            write_result(result_path, result_for(spec))
    except AgentError as error:
        write_result(result_path, {"format": FORMAT, "error": dict(zip(("kind", "message"), error.args))})
        return EXIT_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
