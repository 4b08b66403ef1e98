"""Texts of boards as values: recorded answers give what they say, anything else gives unknown and never an exception."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staged_boards import PI_CPUINFO

from edgekd.bench.agent import texts

PC_CPUINFO = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\nflags\t\t: fpu avx2 fma avx512f avx512_vnni\n"
THERMAL = "IsStatusOverride: false\nThermal Status: 2\nCached temperatures:\n"
GETPROP = "[ro.product.model]: [Pixel 8]\n[ro.soc.model]: [Tensor G3]\nnoise\n[ro.build.version.release]: [14]\n"
RELEASE = "# R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic, EABI: aarch64, DATE: Fri Jul 19\n"
MEMINFO = "MemTotal:        8245000 kB\nMemAvailable:    7000000 kB\nHugePages_Total:       0\n"
PARSERS: tuple[tuple[Callable[[str], Any], str], ...] = (
    (texts.throttled_word, "throttled=0x50005\n"),
    (texts.power_mode, "NV Power Mode: 15W\n0\n"),
    (texts.thermal_status, THERMAL),
    (texts.properties, GETPROP),
    (texts.l4t_release, RELEASE),
    (texts.tensorrt_version, "&&&& RUNNING TensorRT.trtexec [TensorRT v100300]\n"),
    (texts.memory_table, MEMINFO),
    (texts.processors, PI_CPUINFO),
    (texts.number_list, "0-3,5\n"),
)


def test_answers_of_tools_are_read() -> None:
    found = [parse(text) for parse, text in PARSERS]
    assert found == [
        "0x50005",
        "15W",
        2,
        {"ro.product.model": "Pixel 8", "ro.soc.model": "Tensor G3", "ro.build.version.release": "14"},
        "36.3.0",
        "10.3.0",
        {"MemTotal": 8245000 * 1024, "MemAvailable": 7000000 * 1024},
        texts.processors(PI_CPUINFO),
        [0, 1, 2, 3, 5],
    ]


def test_processors_are_told_apart_and_the_board_is_none_of_them() -> None:
    first, second = texts.processors(PI_CPUINFO)
    assert (texts.core_name(first), texts.core_name(second)) == ("Cortex-A76", "Cortex-A55")
    assert texts.features(first) == ["dotprod", "fp16", "neon"]
    assert "model" not in second
    (only,) = texts.processors(PC_CPUINFO)
    assert texts.core_name(only) == "Intel(R) Xeon(R)"
    assert texts.features(only) == ["avx2", "avx512_vnni", "avx512f", "fma"]
    assert texts.core_name({"cpu implementer": "0x41", "cpu part": "0xfff"}) is None


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (texts.throttled_word, "VCHI initialization failed"),
        (texts.throttled_word, 'error=1 error_msg="Command not registered"'),
        (texts.power_mode, "NVPM ERROR: failed to read PM mode"),
        (texts.power_mode, "NV Power Mode: \x1b[2J"),
        (texts.thermal_status, "Can't find service: thermalservice"),
        (texts.thermal_status, "Thermal Status: 9"),
        (texts.l4t_release, "# R (release)"),
        (texts.tensorrt_version, "trtexec: not found"),
        (texts.number_list, "0-99999"),
        (texts.number_list, "a"),
        (texts.number_list, ""),
    ],
)
def test_other_answers_are_unknown(parse: Callable[[str], Any], text: str) -> None:
    assert parse(text) is None


def test_older_trtexec_has_a_shorter_number() -> None:
    assert texts.tensorrt_version("[TensorRT v8601]") == "8.6.1"


def test_long_texts_are_cut_and_not_read_for_ever() -> None:
    assert len(texts.processors("processor: 0\n" * 5000)) == texts.MOST_PROCESSORS
    assert texts.properties("[a]: [b]\n" * (texts.MOST_LINES + 5)) == {"a": "b"}
    assert texts.power_mode("x" * 1_000_000) is None


_TEXT = st.text(max_size=300) | st.text(alphabet=string.printable + "²٣\0", max_size=300)


@given(st.sampled_from(PARSERS), _TEXT, st.data())
@settings(max_examples=600, deadline=None, derandomize=True)
def test_any_text_and_any_change_of_a_real_one_gives_a_value_or_unknown(
    case: tuple[Callable[[str], Any], str], junk: str, data: Any
) -> None:
    parse, real = case
    at, upto = sorted((data.draw(st.integers(0, len(real))), data.draw(st.integers(0, len(real)))))
    for text in (junk, real[:at] + junk + real[upto:], real[:at]):
        found = parse(text)
        assert found is None or isinstance(found, str | int | dict | list)
        for table in found if parse is texts.processors else ():
            texts.core_name(table)
            assert set(texts.features(table)) <= set(texts.FEATURES.values())
