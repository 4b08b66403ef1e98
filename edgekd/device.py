"""What a KIND of board is: its cores, memory, instructions, power modes and sensors, each number with its source.

A profile is `device_profiles/NAME.yaml`. A number in it is written `{value: "2.4 GHz", source: URL}`; the source is the
address of a document, `measured YYYY-MM-DD: how`, or `probed YYYY-MM-DD HOST`, what a board said of itself. What nobody
has documented is left out: every reader of a profile must be ready for None, and may never replace it by a guess.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from edgekd.config import Bytes, Model, Number, load
from edgekd.errors import InputError, ProfileError, UnitError
from edgekd.files import read_bytes
from edgekd.text import did_you_mean, listing, printable
from edgekd.units import bytes_from_text

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
ARM_FEATURES = frozenset({"neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2"})
X86_FEATURES = frozenset({"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8"})

_NUMBER_AND_UNIT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z/]+)")
_URL = re.compile(r"https?://[A-Za-z0-9.-]+\.[a-z]{2,}(/\S*)?")
_MEASURED = re.compile(r"(?:measured (\d{4}-\d{2}-\d{2}): |probed (\d{4}-\d{2}-\d{2}) )\S.*", re.DOTALL)

_HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_MACS_PER_S = {"MMAC/s": 1e6, "GMAC/s": 1e9, "TMAC/s": 1e12}
_WATTS = {"mW": 1e-3, "W": 1.0}


def _quantity(factors: dict[str, float], example: str) -> Any:
    def validate(value: Any) -> Any:
        match = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
        if match is None or match[2] not in factors:
            units = ", ".join(factors)
            raise ValueError(f"found {value!r}, expected a number with one of the units {units}, such as '{example}'")
        return float(match[1]) * factors[match[2]]

    return validate


def _bytes_per_s(value: Any) -> Any:
    if isinstance(value, str) and value.endswith("/s"):
        try:
            return float(bytes_from_text(value.removesuffix("/s")))
        except UnitError as error:
            raise ValueError(str(error)) from None
    raise ValueError(f"found {value!r}, expected bytes per second, such as '17 GB/s'")


def _checked_source(text: str) -> str:
    measured = _MEASURED.fullmatch(text)
    try:
        if measured and date.fromisoformat(measured[1] or measured[2]):
            return text
    except ValueError:
        pass
    if not measured and _URL.fullmatch(text):
        return text
    raise ValueError(
        f"found the source {printable(text, 80)!r}, expected the address of a document (https://...), "
        "'measured YYYY-MM-DD: how' or 'probed YYYY-MM-DD HOST'"
    )


def _schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": f"a number with its unit, such as '{example}'"})


Hertz = Annotated[float, BeforeValidator(_quantity(_HERTZ, "2.4 GHz")), Field(gt=0), _schema("2.4 GHz")]
MacsPerS = Annotated[float, BeforeValidator(_quantity(_MACS_PER_S, "57 GMAC/s")), Field(gt=0), _schema("57 GMAC/s")]
Watts = Annotated[float, BeforeValidator(_quantity(_WATTS, "15 W")), Field(gt=0), _schema("15 W")]
BytesPerS = Annotated[float, BeforeValidator(_bytes_per_s), Field(gt=0), _schema("17 GB/s")]
Count = Annotated[int, Field(ge=1)]
Identifier = Annotated[int, Field(ge=0)]
Rate = Annotated[Number, Field(gt=0)]
SourceText = Annotated[str, AfterValidator(_checked_source)]
Words = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]

T = TypeVar("T")


class Sourced(Model, Generic[T]):
    """A value together with where it comes from, and how it follows from there when it is not written there as such."""

    value: T
    source: SourceText
    derived: Words | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_source(cls, data: Any) -> Any:
        if isinstance(data, dict | Sourced):
            return data
        raise ValueError(
            f"found {printable(repr(data), 60)} without a source, "
            "expected {value: ..., source: ...}. Leave the key out when no source is known"
        )


class Cluster(Model):
    """Equal cores of a CPU. `macs_per_cycle` and `macs_per_s` are for one core; the measured rate goes before."""

    core: Words
    count: Sourced[Count]
    clock: Sourced[Hertz] | None = None
    macs_per_cycle: dict[Precision, Sourced[Rate]] = Field(default_factory=dict)
    macs_per_s: dict[Precision, Sourced[MacsPerS]] = Field(default_factory=dict)

    @property
    def clock_hz(self) -> float | None:
        """The highest clock, or None when it is not documented."""
        return self.clock.value if self.clock else None

    def core_macs_per_s(self, precision: Precision) -> float | None:
        """The peak of one core, or None when it cannot be told."""
        if precision in self.macs_per_s:
            return self.macs_per_s[precision].value
        if precision in self.macs_per_cycle and self.clock is not None:
            return self.macs_per_cycle[precision].value * self.clock.value
        return None


class Memory(Model):
    """The main memory. `sizes` are the sizes the board is sold with."""

    type: Words | None = None
    sizes: list[Sourced[Bytes]] = Field(default_factory=list)
    bandwidth: Sourced[BytesPerS] | None = Field(default=None, description="of the memory, reached by all cores")
    core_bandwidth: Sourced[BytesPerS] | None = Field(default=None, description="what one core alone reaches")


class Accelerator(Model):
    """A GPU or another engine beside the CPU. `macs_per_s` is dense: sparsity does not count."""

    name: Words
    kind: Literal["gpu", "npu", "dla"]
    units: Sourced[Count] | None = Field(default=None, description="CUDA or shader cores")
    clock: Sourced[Hertz] | None = None
    macs_per_s: dict[Precision, Sourced[MacsPerS]] = Field(default_factory=dict)
    source: SourceText


class PowerMode(Model):
    """A setting of the board that caps cores and clocks. `id` is the number the board's own tool knows it by."""

    name: Words
    id: Sourced[Identifier] | None = None
    budget: Sourced[Watts] | None = None
    cores: Sourced[Count] | None = None
    clock: Sourced[Hertz] | None = None
    bandwidth: Sourced[BytesPerS] | None = None
    note: Words | None = None


class Sensor(Model):
    """How to read one state of the board: a file or a command, and the unit of what it answers.

    A `*` in `path` stands for every file that matches. `meanings` names the bits (unit `bits`) or codes (unit `code`).
    `mdegC` and `ddegC` are thousandths and tenths of a degree.
    """

    name: Name
    kind: Literal["temperature", "clock", "throttle", "power", "voltage", "current", "power-mode", "load"]
    path: Annotated[str, Field(pattern=r"^/(sys|proc)(/(\.?[^\s/.])[^\s/]*)+$")] | None = None
    command: Annotated[list[Words], Field(min_length=1)] | None = None
    unit: Literal["mdegC", "ddegC", "degC", "kHz", "Hz", "mW", "mV", "mA", "V", "bits", "code", "text"]
    meanings: dict[Annotated[str, Field(pattern=r"^\d+$")], Words] = Field(default_factory=dict)
    source: SourceText

    @model_validator(mode="after")
    def _one_way(self) -> Sensor:
        if (self.path is None) == (self.command is None):
            raise ValueError(f"the sensor {self.name!r} needs either a path or a command, and not both")
        return self


class Runtime(Model):
    """An inference runtime that is published for the board, with the execution providers worth asking for."""

    name: Literal["onnxruntime", "tensorrt"]
    providers: list[Words] = Field(default_factory=list)
    note: Words | None = None
    source: SourceText


class DeviceProfile(Model):
    """What a kind of board is. Whatever is not documented is None or empty.

    Units: SI in the properties: hertz, bytes, bytes per second, MACs per second (1 MAC = 2 FLOP).
    """

    name: Name
    title: Words
    kind: Literal["single-board-computer", "module", "phone", "generic"]
    isa: Literal["aarch64", "x86_64"]
    clusters: Annotated[list[Cluster], Field(min_length=1)]
    features: Sourced[list[Words]] | None = None
    accelerators: list[Accelerator] = Field(default_factory=list)
    memory: Memory = Field(default_factory=Memory)
    runtimes: list[Runtime] = Field(default_factory=list)
    power_modes: list[PowerMode] = Field(default_factory=list)
    sensors: list[Sensor] = Field(default_factory=list)
    notes: list[Words] = Field(default_factory=list)
    calibration: Words | None = Field(default=None, description="a file of edgekd devices calibrate, beside this one")

    @model_validator(mode="after")
    def _no_duplicates(self) -> DeviceProfile:
        named = (
            ("cluster", [f"{cluster.core} at {cluster.clock_hz}" for cluster in self.clusters]),
            ("accelerator", [accelerator.name for accelerator in self.accelerators]),
            ("power mode", [mode.name for mode in self.power_modes]),
            ("sensor", [sensor.name for sensor in self.sensors]),
            ("feature", self.features.value if self.features else []),
        )
        for what, names in named:
            for name, times in Counter(names).items():
                if times > 1:
                    raise ValueError(f"the {what} {name!r} stands {times} times. Keep one, with their counts added")
        return self

    @model_validator(mode="after")
    def _features_of_isa(self) -> DeviceProfile:
        known = ARM_FEATURES if self.isa == "aarch64" else X86_FEATURES
        for feature in self.features.value if self.features else ():
            if feature not in known:
                hint = did_you_mean(feature, known)
                raise ValueError(
                    f"found the feature {feature!r}, which {self.isa} has not; known: {listing(known)}.{hint}"
                )
        return self

    @model_validator(mode="after")
    def _fastest_first(self) -> DeviceProfile:
        for precision in PRECISIONS:
            rates = [cluster.core_macs_per_s(precision) for cluster in self.clusters]
            known = [rate for rate in rates if rate is not None]
            if known != sorted(known, reverse=True):
                raise ValueError(
                    f"the cores of a later cluster are faster in {precision}; write the fastest cluster first"
                )
        return self

    @property
    def cores(self) -> int:
        """All cores of the CPU."""
        return sum(cluster.count.value for cluster in self.clusters)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions in which the peak of the fastest core is known."""
        return tuple(precision for precision in PRECISIONS if self.clusters[0].core_macs_per_s(precision) is not None)

    @property
    def memory_bytes(self) -> int | None:
        """The smallest memory the board is sold with."""
        return min((size.value for size in self.memory.sizes), default=None)

    @property
    def memory_bandwidth_bytes_per_s(self) -> float | None:
        """The peak bandwidth of the memory, shared by all cores and accelerators."""
        return self.memory.bandwidth.value if self.memory.bandwidth else None

    @property
    def core_bandwidth_bytes_per_s(self) -> float | None:
        """The memory bandwidth that one core alone reaches."""
        return self.memory.core_bandwidth.value if self.memory.core_bandwidth else None

    def peak_macs_per_s(self, precision: str, threads: int = 1) -> float | None:
        """The peak of the `threads` fastest CPU cores together, or None when one of these is not documented.

        More threads than cores give the peak of all cores.
        Errors: InputError for a precision we do not know or fewer than one thread.
        """
        if threads < 1:
            raise InputError(f"threads is {threads}, expected at least 1")
        known = next((name for name in PRECISIONS if name == precision), None)
        if known is None:
            hint = did_you_mean(precision, PRECISIONS)
            raise InputError(
                f"found the precision {printable(precision, 40)!r}, expected one of {listing(PRECISIONS)}.{hint}"
            )
        total, left = 0.0, min(threads, self.cores)
        for cluster in self.clusters:
            used = min(left, cluster.count.value)
            rate = cluster.core_macs_per_s(known)
            if used and rate is None:
                return None
            total += used * (rate or 0.0)
            left -= used
        return total

    def sources(self) -> Iterator[tuple[str, Any, str]]:
        """Every sourced fact as (path in the file, value in SI, source)."""
        yield from _sources_in(self, "")


def _sources_in(item: Any, path: str) -> Iterator[tuple[str, Any, str]]:
    if isinstance(item, Sourced):
        yield path, item.value, item.source
        return
    if isinstance(item, BaseModel):
        source = getattr(item, "source", None)
        if source is not None:
            yield path, getattr(item, "name", ""), source
        children: Any = ((name, getattr(item, name)) for name in type(item).model_fields)
    elif isinstance(item, dict):
        children = item.items()
    elif isinstance(item, list):
        children = enumerate(item)
    else:
        return
    for name, child in children:
        yield from _sources_in(child, f"{path}.{name}" if path else str(name))


def _folder() -> Path:
    # A wheel carries the profiles inside the package; a checkout has them at the root, beside it.
    package = Path(__file__).parent
    inside = package / "device_profiles"
    return inside if inside.is_dir() else package.parent / "device_profiles"


def profile_names() -> list[str]:
    """The names of all profiles that come with edgekd, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def load_profile(name_or_path: str) -> DeviceProfile:
    """The profile called `name_or_path`, or the one in that YAML file.

    Errors: ProfileError for a name nobody knows or a wrong file, with its line; InputError when it cannot be read.
    """
    path = profile_path(name_or_path)
    profile = load(path, DeviceProfile, ProfileError)
    if profile.calibration is None:
        return profile
    return profile.model_copy(update={"calibration": str(path.parent / profile.calibration)})


def profile_path(name_or_path: str) -> Path:
    """The file of that profile. Errors: ProfileError for a name nobody knows."""
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return Path(name_or_path)
    names = profile_names()
    if name_or_path not in names:
        raise ProfileError(
            f"no device profile is called {printable(name_or_path, 80)!r}, expected one of {listing(names, 30)}, "
            f"or the path of a YAML file.{did_you_mean(name_or_path, names)}"
        )
    return _folder() / f"{name_or_path}.yaml"


def profile_text(name_or_path: str, *, calibration: str) -> str:
    """The text of that profile's file with its comments, which names `calibration` from now on.

    Errors: ProfileError, InputError.
    """
    load_profile(name_or_path)
    text = read_bytes(profile_path(name_or_path)).decode("utf-8-sig")
    kept = [line for line in text.splitlines() if not line.startswith("calibration:")]
    return "\n".join([*kept, f"calibration: {calibration}", ""])
