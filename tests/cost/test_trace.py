"""The common operators are made as they are counted."""

from edgekd.cost.trace import active, in_place, linear, patches


def test_a_linear_layer_has_the_weights_and_the_work_of_its_sizes() -> None:
    made = linear("up", "feed_forward", "in", (10, 4, 6), times=3)
    assert (made.kind, made.reads, made.elements, made.macs, made.input_elements) == ("linear", ("in",), 60, 240, 40)
    assert (made.matrix, made.channels, made.floats, made.times) == (24, 6, 6, 3)
    assert linear("up", "feed_forward", "in", (10, 4, 6), bias=False).floats == 0


def test_what_is_no_module_overwrites_its_first_input_and_is_not_counted() -> None:
    added = in_place("sum", "attention", ("a", "b"), 8)
    assert (added.kind, added.counted, added.overwrites, added.macs) == ("elementwise", False, True, 0)
    assert active("gelu", "head", "a", 8).counted
    assert active("gelu", "head", "a", 8).overwrites


def test_patches_are_a_matrix_product_whose_weights_stay_fp32() -> None:
    made = patches(rows=9, inputs=12, hidden=5)
    assert (made.elements, made.macs, made.floats, made.matrix) == (45, 540, 65, 0)
