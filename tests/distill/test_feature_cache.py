"""What the teacher computes inside, from disk: the same losses, gradients and trainings without asking it again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from test_cache import CountingForward
from test_trainer import GradientCopy, arguments
from tiny_digits import PAD, digit_images, digit_sequences, tiny_bert, tiny_vit

from edgekd.distill.cache import PROBES
from edgekd.distill.collate import Collator
from edgekd.distill.evaluate import predict_logits
from edgekd.distill.feature_cache import Wanted, feature_bytes, stored_features
from edgekd.distill.features import FeatureTeacher, feature_teacher, passes_of
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.schedule import Schedule
from edgekd.distill.settings import HiddenTerm, RelationsTerm, TrainingSettings
from edgekd.distill.train import train
from edgekd.distill.trainer import DistillationTrainer
from edgekd.errors import InputError, RecordError, TrainingError

BOTH = Wanted(hidden=(1, 0), attention=(1,))
QUICK = TrainingSettings(epochs=2, learning_rate=5e-3, batch_size=16, seed=3)
TERMS: dict[str, Any] = {"hidden": HiddenTerm(1.0), "relations": RelationsTerm(1.0, 4)}
# float16 keeps 11 bits, so a number is off by 2^-11 of itself at most; gradients are sums of such differences.
ROUNDING = 2.0**-11


def stored(teacher: Any, rows: Any, folder: Path, wanted: Wanted = BOTH, **options: Any) -> Any:
    return stored_features(teacher, rows, folder, wanted, batch_size=8, pad_token_id=PAD, **options)


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_what_is_stored_is_what_the_teacher_computes_beside_a_student(kind: str, tmp_path: Path) -> None:
    texts = kind == "texts"
    teacher, rows = (tiny_bert(2), digit_sequences(0, 40)) if texts else (tiny_vit(2), digit_images(0, 40))
    student = tiny_bert(1, layers=2) if texts else tiny_vit(1)
    found = stored(teacher, rows, tmp_path, shard_rows=7)
    picked = [33, 2, 17, 39, 0]
    batch = Collator(PAD)(list(rows.with_format("numpy").select(picked)))
    with feature_teacher(teacher, student, replace(QUICK, **TERMS)) as beside:
        assert beside is not None
        expected = beside._asked(batch)
        seen = found.of(batch, BOTH)
    assert set(seen.hidden) == {0, 1}
    mask = batch["attention_mask"].bool() if texts else torch.ones(seen.hidden[0].shape[:2], dtype=torch.bool)
    for layer, states in seen.hidden.items():
        torch.testing.assert_close(states[mask], expected.hidden[layer][mask], rtol=ROUNDING, atol=1e-5)
        assert not states[~mask].any()
    for states, its in zip(seen.attention[1], expected.attention[1], strict=True):
        joined = its.transpose(1, 2).flatten(2)
        assert states.shape == (5, 1, *joined.shape[1:])
        torch.testing.assert_close(states[:, 0][mask], joined[mask], rtol=ROUNDING, atol=1e-5)


def gradients(folder: Path, rows: Any, teacher: Any, features: Any) -> list[Any]:
    student, copied = tiny_bert(1, layers=1, hidden=16), GradientCopy()
    with feature_teacher(teacher, student, replace(QUICK, **TERMS), features) as taught_by:
        DistillationTrainer(
            student, arguments(folder, per_device_train_batch_size=10), train_dataset=rows, features=taught_by,
            pad_token_id=PAD, callbacks=[copied],
        ).train()  # fmt: skip
    return copied.steps


def test_gradients_are_those_of_a_teacher_beside_the_student_up_to_rounding(tmp_path: Path) -> None:
    teacher, rows = tiny_bert(2), digit_sequences(0, 30)
    features = stored(teacher, rows, tmp_path / "cache", Wanted((1,), (1,)))
    counter = CountingForward(teacher)
    found = gradients(tmp_path / "stored", rows, teacher, features)
    assert counter.rows == 0
    beside = gradients(tmp_path / "beside", rows, teacher, None)
    assert len(found) == len(beside) == 3
    for own, its in zip(found, beside, strict=True):
        assert not torch.equal(own, its)
        assert torch.linalg.vector_norm(own - its) < 2 * ROUNDING * torch.linalg.vector_norm(its)


def test_a_training_never_asks_the_teacher_and_comes_to_the_same_student(tmp_path: Path) -> None:
    rows, validation, teacher = digit_sequences(0, 48), digit_sequences(100, 130), tiny_bert(2)
    settings = replace(QUICK, **TERMS)
    features = stored(teacher, rows, tmp_path / "cache")
    counter, logits = CountingForward(teacher.bert), []
    for given in (features, None):
        student = tiny_bert(1, layers=1, hidden=16)
        train(
            student, rows, validation, settings, tmp_path / "run", teacher=teacher, features=given, pad_token_id=PAD
        )  # fmt: skip
        logits.append(predict_logits(student, validation, 30, PAD))
        assert counter.rows == (0 if given else 2 * 48)
    np.testing.assert_allclose(*logits, atol=0.02)


def test_a_second_student_of_the_same_layers_finds_what_the_first_one_left(tmp_path: Path) -> None:
    teacher, rows = tiny_bert(2), digit_sequences(0, 30)
    first = stored(teacher, rows, tmp_path, key="digits")
    counter = CountingForward(teacher.bert)
    again = stored(teacher, rows.select(range(29, -1, -1)), tmp_path, key="digits")
    assert counter.rows == 1 + PROBES  # one tells how much there is
    assert again.name == first.name
    numbers = np.array([5, 29, 0])
    for name, values in first.flat(numbers).items():
        assert all(np.array_equal(own, its) for own, its in zip(values, again.flat(numbers)[name], strict=True))
    for wanted in (Wanted((0,)), Wanted((0, 1)), Wanted((), (1,))):
        stored(teacher, rows, tmp_path, wanted, key="digits")
    stored(tiny_bert(3), rows, tmp_path, key="digits")
    assert len(list(tmp_path.glob("*/cache.json"))) == 5


def test_a_killed_computation_goes_on_after_the_last_whole_shard(tmp_path: Path) -> None:
    teacher, rows = tiny_bert(2), digit_sequences(0, 30)

    def kill(done: int, _rows: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(teacher, rows, tmp_path / "killed", shard_rows=10, on_rows=kill)
    assert not list(tmp_path.glob("*/*/cache.json"))
    counter = CountingForward(teacher.bert)
    stored(teacher, rows, tmp_path / "killed", shard_rows=10)
    assert counter.rows == 1 + 10 + PROBES
    stored(teacher, rows, tmp_path / "whole", shard_rows=10)
    killed, whole = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*/*")} for name in ("killed", "whole")
    )
    assert killed == whole


@pytest.mark.parametrize("damage", ["changed", "missing", "cut"])
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path) -> None:
    teacher, rows = tiny_bert(2), digit_sequences(0, 20)
    stored(teacher, rows, tmp_path, shard_rows=10)
    shard = sorted(tmp_path.glob("*/shard-*"))[1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(data if damage == "changed" else data[:-9])
    with pytest.raises(RecordError, match="is missing or has changed since it was written"):
        stored(teacher, rows, tmp_path, shard_rows=10)


def test_data_changed_behind_its_key_is_found_by_the_probes(tmp_path: Path) -> None:
    teacher, rows = tiny_vit(2), digit_images(0, 20)
    stored(teacher, rows, tmp_path, key="digits")
    inverted = rows.map(lambda row: {"pixel_values": (-3 * np.asarray(row["pixel_values"])).tolist()})
    with pytest.raises(RecordError, match="computed again differ"):
        stored(teacher, inverted, tmp_path, key="digits")


def test_what_float16_does_not_hold_is_refused(tmp_path: Path) -> None:
    teacher = tiny_bert(2)
    with torch.no_grad():
        teacher.bert.encoder.layer[1].output.LayerNorm.bias[3] = 1e5
    stored(teacher, digit_sequences(0, 8), tmp_path, Wanted((0,)))
    with pytest.raises(TrainingError, match=r"hidden of layer 1 .*distill\.cache\.features: false"):
        stored(teacher, digit_sequences(0, 8), tmp_path, Wanted((1,)))


def test_features_that_are_not_those_of_the_training_are_refused(tmp_path: Path) -> None:
    rows, validation, teacher = digit_sequences(0, 32), digit_sequences(100, 110), tiny_bert(2)
    settings = replace(QUICK, **TERMS)
    cases = {
        "of another teacher": stored(tiny_bert(3), rows, tmp_path / "cache"),
        "expected {'hidden': .1,., 'attention': .1,.}": stored(teacher, rows, tmp_path / "cache", Wanted((1,))),
        "no stored features of row 31": stored(teacher, rows.select(range(31)), tmp_path / "cache"),
    }
    for message, features in cases.items():
        with pytest.raises(InputError, match=message):
            train(
                tiny_bert(1, layers=1), rows, validation, settings, tmp_path / "run", teacher=teacher,
                features=features, pad_token_id=PAD,
            )  # fmt: skip
    other = digit_sequences(200, 232).remove_columns("row").add_column("row", list(range(32)))
    batch = Collator(PAD)(list(other))
    with pytest.raises(InputError, match="they are of another data set"):
        stored(teacher, rows, tmp_path / "cache").of(batch, BOTH)


def test_what_is_stored_is_as_large_as_was_said_and_is_mapped_and_not_read(tmp_path: Path) -> None:
    teacher, rows = tiny_vit(2, hidden=128), digit_images(0, 400)
    wanted = Wanted((0, 1), (1,))
    said = feature_bytes(teacher, rows, wanted)
    assert said == 400 * 5 * 128 * 2 * (2 + 3)
    stored(teacher, rows, tmp_path, wanted, shard_rows=100)
    size = sum(path.stat().st_size for path in tmp_path.glob("*/shard-*"))
    assert said < size < 1.02 * said
    before = pa.total_allocated_bytes()
    again = stored(teacher, rows, tmp_path, wanted, shard_rows=100)
    assert pa.total_allocated_bytes() - before < 0.02 * said
    assert not again.of(Collator()(list(rows.select([7]).with_format("numpy"))), wanted).hidden[0].isnan().any()
    texts = digit_sequences(0, 50)
    tokens = sum(map(len, texts["input_ids"]))
    assert feature_bytes(tiny_bert(2), texts, Wanted((0,)), PAD) == pytest.approx(tokens * 32 * 2, abs=1)


def test_the_teacher_is_asked_calmly_and_left_as_it_was(tmp_path: Path) -> None:
    teacher = tiny_bert(2, dropout=0.5).train()
    before = weights_hash(teacher)
    stored(teacher, digit_sequences(0, 20), tmp_path)
    assert teacher.training
    assert teacher.config._attn_implementation == "sdpa"
    assert weights_hash(teacher) == before
    assert all(weight.grad is None for weight in teacher.parameters())


def test_layers_are_wanted_once_and_the_epochs_that_look_at_them_are_known() -> None:
    assert Wanted((3, 1, 3), (2,)).columns == ("hidden_1", "hidden_3", "queries_2", "keys_2", "values_2")
    teacher, student = tiny_bert(2), tiny_bert(1, layers=1)
    assert FeatureTeacher(teacher, student, TERMS["hidden"], TERMS["relations"]).wanted == Wanted((1,), (1,))
    fading = HiddenTerm(Schedule(1.0, 0.0, "linear", 0.3))
    assert passes_of(replace(QUICK, epochs=10, hidden=fading)) == pytest.approx(3)
    assert passes_of(replace(QUICK, epochs=10, hidden=fading, relations=RelationsTerm(1.0, 4))) == 10
    assert passes_of(replace(QUICK, epochs=10, hidden=HiddenTerm(Schedule(1.0, 0.5, "linear", 0.3)))) == 10
    assert passes_of(QUICK) == 0
