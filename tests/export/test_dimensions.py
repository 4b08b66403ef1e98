from __future__ import annotations

import pytest

from edgekd.errors import ExportError
from edgekd.export.dimensions import dimensions, filled, is_grouped, number, probes
from edgekd.student import StudentSpec

BERT = StudentSpec(architecture="bert", layers=4, hidden=24, heads=4, ffn=50, vocabulary=97, positions=42)
LLAMA = StudentSpec(
    architecture="llama", layers=4, hidden=32, heads=4, kv_heads=2, head_dim=6, ffn=50, vocabulary=97, positions=42
)
SMALL, LARGE = {"hidden": 24, "heads": 2}, {"hidden": 36, "heads": 3}


def test_dimensions_of_llama_tell_the_stream_from_its_heads() -> None:
    assert dimensions(LLAMA) == {
        "hidden": 32,
        "ffn": 50,
        "heads": 4,
        "width of all heads": 24,
        "key heads": 2,
        "width of all key heads": 12,
        "query heads per key head": 2,
    }
    assert dimensions(BERT) == {"hidden": 24, "ffn": 50, "three times hidden": 72, "heads": 4}


def test_only_llama_with_fewer_key_heads_is_grouped() -> None:
    assert is_grouped(LLAMA)
    assert not is_grouped(BERT)


def test_number_that_stays_is_a_constant_and_one_that_follows_a_dimension_is_that() -> None:
    assert number(24, 24, (SMALL, LARGE), "here") == 24
    assert number(24, 36, (SMALL, LARGE), "here") == "hidden"
    assert number(2, 3, (SMALL, LARGE), "here") == "heads"
    assert filled("hidden", LARGE) == 36
    assert filled(-1, LARGE) == -1


def test_number_behind_no_dimension_or_two_is_refused() -> None:
    with pytest.raises(ExportError, match=r"here: the number 24 in one export and 3 in another is none"):
        number(24, 3, (SMALL, LARGE), "here")
    twice = ({**SMALL, "ffn": 24}, {**LARGE, "ffn": 36})
    with pytest.raises(ExportError, match="may be hidden or ffn"):
        number(24, 36, twice, "here")


@pytest.mark.parametrize("head_dim", [2, 6, 32, 64, 80, 128])
@pytest.mark.parametrize("architecture", ["bert", "vit", "gpt2", "llama"])
@pytest.mark.parametrize("keys", [1, 4])
def test_probes_differ_in_every_dimension_and_no_two_dimensions_agree(
    architecture: str, head_dim: int, keys: int
) -> None:
    if architecture != "llama" and keys == 1:
        return
    inputs = {"image_size": 16, "patch_size": 4, "channels": 3, "labels": 2}
    inputs = inputs if architecture == "vit" else {"vocabulary": 97, "positions": 42, "labels": 2}
    like = StudentSpec(
        architecture=architecture,
        layers=9,
        hidden=4 * head_dim,
        heads=4,
        kv_heads=keys,
        head_dim=head_dim,
        ffn=77,
        **inputs,
    )
    first, second, third = probes(like, like)
    tables = dimensions(first), dimensions(second)
    pairs = [(tables[0][name], tables[1][name]) for name in dimensions(like)]
    assert len(set(pairs)) == len(pairs)
    assert all(one != other for one, other in pairs)
    assert [spec.layers for spec in (first, second, third)] == [2, 4, 1]
    for spec in (first, second, third):
        assert spec.head_dim == head_dim
        assert spec.labels == 2
    assert is_grouped(first) == is_grouped(second) == (keys == 1)


def test_heads_of_one_number_are_as_wide_as_hidden() -> None:
    spec = StudentSpec(architecture="bert", layers=1, hidden=4, heads=4, ffn=50, vocabulary=97, positions=42)
    assert "heads" not in dimensions(spec)
