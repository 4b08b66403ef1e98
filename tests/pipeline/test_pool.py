"""Which untrained students may be measured, and that they are what their names say."""

from pathlib import Path

import pytest

from edgekd.bench.artifact import artifact_from_file
from edgekd.cost.count import Counts, count
from edgekd.cost.tails import TAILS, tails
from edgekd.cost.terms import latency_terms
from edgekd.errors import InputError, SpecError
from edgekd.networks.spec import Spec
from edgekd.pipeline.pool import LANGUAGE_MODELS, Pool, Reference, reference_of, traced
from edgekd.pipeline.usual import CONVOLUTIONAL, FAMILIES, Phase
from edgekd.space import Space
from edgekd.student import StudentSpec

TINY = StudentSpec(
    architecture="bert", layers=3, hidden=48, heads=6, ffn=96, vocabulary=60, positions=32, token_types=2, labels=2
)


def tiny_pool(*lengths: int) -> Pool:
    space = Space(layers=[1, 2, 3], hidden=[16, 32, 48], ffn_ratio=[1.0, 2.0], min_share=0.0)
    return Pool(Reference(TINY, None, space, lengths or (8,)), ("fp32", "int8"), 1)


def test_every_family_has_a_pool_with_a_design(tmp_path: Path) -> None:
    for family in FAMILIES:
        pool = Pool(reference_of(family, tmp_path), ("fp32",), 1)
        names = pool.designed("fp32", 12)
        assert len(set(names)) == 12
        assert all(name.endswith("-fp32" if family == "vit" else "-fp32@64") for name in names)
        assert all(pool.features(name)["starts"] > 0 for name in names)


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_a_convolutional_family_has_a_pool_of_images_in_fp32(family: str, tmp_path: Path) -> None:
    reference = reference_of(family, tmp_path)
    pool = Pool(reference, ("fp32",), 1)
    names = pool.designed("fp32", 12)
    assert len(set(names)) == 12
    spec, length = pool.known(min(names, key=lambda name: pool.features(name)["weight_bytes"]))
    assert (spec.family, length) == ("cnn", 0)
    name = pool.add(spec, "fp32", length)
    artifact = artifact_from_file(pool.written(name, tmp_path))
    assert artifact.size_bytes == pytest.approx(pool.features(name)["weight_bytes"], rel=0.1, abs=100_000)
    with pytest.raises(InputError, match="--precision int8"):
        Pool(reference, ("fp32", "int8"), 1)
    with pytest.raises(InputError, match="--sequence 64"):
        reference_of(family, tmp_path, (64,))


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_language_model_has_a_pool_of_each_phase(family: str, phase: Phase, tmp_path: Path) -> None:
    pool = Pool(reference_of(family, tmp_path, (8, 32), phase), ("fp32",), 1)
    names = pool.designed("fp32", 12)
    assert {pool.dims(name)["past"] for name in names} == {8, 32}
    terms = pool._terms(32)  # the columns that the design sees
    for row in (0, 5, len(pool.students) - 1):
        one = pool.features(pool.add(pool.students[row], "fp32", 32))
        assert {name: column[row] for name, column in terms.items()} == pytest.approx({key: one[key] for key in terms})
    spec = min((pool.known(name)[0] for name in names), key=lambda one: count_of(one).weight_bytes)
    assert isinstance(spec, StudentSpec)
    head = spec.hidden * spec.vocabulary
    assert pool.features(pool.add(spec, "fp32", 8))["macs.head"] == head  # of one position alone
    artifact = artifact_from_file(pool.written(pool.add(spec, "fp32", 8), tmp_path))
    assert artifact.size_bytes == pytest.approx(pool.features(pool.add(spec, "fp32", 8))["weight_bytes"], rel=0.02)


def count_of(spec: Spec) -> Counts:
    return count(spec, batch=1, sequence=8, precision="fp32")


def test_a_prompt_costs_more_than_a_token_and_a_phase_needs_a_language_model(tmp_path: Path) -> None:
    spec = reference_of("llama", tmp_path, (), "decode").spec
    step, prompt = (latency_terms(traced(spec, phase, batch=1, length=64)) for phase in ("decode", "prefill"))
    assert prompt["macs.projections"] == 64 * step["macs.projections"]
    assert prompt["macs.head"] == step["macs.head"]
    assert step["elements.cache"] > prompt["elements.cache"] == 0
    with pytest.raises(InputError, match="--phase decode: only language models"):
        reference_of("bert", tmp_path, (), "decode")
    with pytest.raises(SpecError, match="1024"):
        reference_of("gpt2", tmp_path, (1024,), "decode")


def test_a_student_of_four_bits_has_its_tails_among_its_features() -> None:
    pool = tiny_pool()
    spec = pool.students[0]
    trace = traced(spec, "whole", batch=1, length=8)
    assert pool.features(pool.add(spec, "int4", 8))[TAILS] == tails(trace) > 0
    assert TAILS not in pool.features(pool.add(spec, "int8", 8))


def test_a_design_uses_all_lengths(tmp_path: Path) -> None:
    pool = Pool(reference_of("bert", tmp_path, (16, 256, 64)), ("fp32",), 1)
    lengths = {pool.dims(name)["sequence"] for name in pool.designed("fp32", 12)}
    assert {16, 256} <= lengths <= {16, 64, 256}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_written_student_has_the_bytes_that_are_counted(precision: str, tmp_path: Path) -> None:
    pool = tiny_pool()
    (name,) = [name for name in pool.designed(precision, 18) if name.startswith("L2-H32-A4-F64")]
    artifact = artifact_from_file(pool.written(name, tmp_path))
    spec = StudentSpec(**(TINY.to_dict() | {"layers": 2, "hidden": 32, "heads": 4, "kv_heads": 4, "ffn": 64}))
    weights = count(spec, batch=1, sequence=8, precision=precision).weight_bytes
    assert 0 < artifact.size_bytes - weights < 200_000
    assert pool.features(name)["weight_bytes"] == weights


def test_a_recipe_gives_its_space_its_teacher_and_its_length() -> None:
    reference = reference_of("sst2", Path())
    assert (reference.spec.layers, reference.spec.hidden) == (6, 384)
    assert reference.sequences == (64,)
    assert reference.config is not None


def test_what_is_no_family_and_no_recipe_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--like bort: no such family or recipe.*bert"):
        reference_of("bort", tmp_path)
    with pytest.raises(InputError, match="--like quickstart: its teacher is built for its data"):
        reference_of("quickstart", tmp_path)
    with pytest.raises(SpecError, match="expected 1 to 512"):
        reference_of("bert", tmp_path, (1024,))


def test_a_student_outside_the_teacher_is_refused() -> None:
    with pytest.raises(SpecError, match="layers 9"):
        tiny_pool().add(StudentSpec(**(TINY.to_dict() | {"layers": 9})), "fp32", 8)
