from pathlib import Path

import datasets
import torch
from tiny_digits import digit_images, digit_sequences, tiny_bert

from edgekd.distill.fingerprint import dataset_hash, options_hash, weights_hash


def test_weights_hash_changes_with_one_weight_and_only_then() -> None:
    model, same = tiny_bert(), tiny_bert()
    assert weights_hash(model) == weights_hash(same)
    with torch.no_grad():
        same.classifier.bias[3] += 1e-6
    assert weights_hash(model) != weights_hash(same)


def test_weights_hash_reads_half_precision_too() -> None:
    assert weights_hash(tiny_bert().bfloat16()) != weights_hash(tiny_bert())


def test_options_hash_sees_what_weights_do_not_tell_and_no_place(tmp_path: Path) -> None:
    model = tiny_bert()
    plain = options_hash(model)
    model.save_pretrained(tmp_path)
    model.config.use_cache = not getattr(model.config, "use_cache", False)
    assert options_hash(model) == options_hash(type(model).from_pretrained(tmp_path)) == plain
    for name, value in (("num_attention_heads", 4), ("hidden_act", "relu"), ("hidden_dropout_prob", 0.3)):
        other = tiny_bert()
        assert getattr(other.config, name) != value
        setattr(other.config, name, value)
        assert weights_hash(other) == weights_hash(model)
        assert options_hash(other) != plain
    assert options_hash(torch.nn.Linear(2, 2)) == options_hash(torch.nn.Linear(3, 3))


def test_dataset_hash_is_the_same_in_memory_on_disk_and_through_a_selection(tmp_path: Path) -> None:
    rows = digit_sequences(0, 40)
    rows.save_to_disk(tmp_path / "rows")
    again = datasets.load_from_disk(tmp_path / "rows")
    selected = digit_sequences(0, 60).select(range(40))
    shuffled = selected.select(list(range(39, -1, -1))).select(list(range(39, -1, -1)))
    assert {dataset_hash(some) for some in (rows, again, selected, shuffled)} == {dataset_hash(rows)}


def test_dataset_hash_sees_a_pixel_and_the_order() -> None:
    rows = digit_images(0, 20)
    changed = rows.map(lambda row: {"pixel_values": [[[9.0] * 8] * 8]} if row["row"] == 7 else row)
    assert len({dataset_hash(some) for some in (rows, changed, rows.select(list(range(19, -1, -1))))}) == 3
