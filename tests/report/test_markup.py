"""Escaping: nothing that a file says becomes markup."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_reader import Page

from edgekd.report.markup import Html, element, escaped, join, json_block, own_script, page, rows_of

HOSTILE = "\"'><script>alert(1)</script>&amp;\x1b[2J\u202e<!--"


def test_text_and_attributes_are_escaped() -> None:
    read = Page(element("p", HOSTILE, title=HOSTILE).text)
    assert [tag for tag, _ in read.elements] == ["p"]
    assert set(read.elements[0][1]) == {"title"}
    assert "<script>alert(1)</script>&amp;" in read.said
    assert "\x1b" not in read.said
    assert "\u202e" not in read.said


@given(st.text(max_size=60))
def test_no_text_opens_an_element_or_leaves_its_attribute(text: str) -> None:
    read = Page(element("td", text, class_=text, data_label=text).text)
    assert read.shapes == {("td", ("class", "data-label"))}


@given(st.recursive(st.text(max_size=20) | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_a_json_block_gives_its_value_back_and_cannot_be_ended_from_inside(value: object) -> None:
    block = json_block({"value": value}, "x").text
    inside = block.removeprefix('<script type="application/json" id="x">').removesuffix("</script>")
    assert json.loads(inside) == {"value": value}
    assert not set("<>&\u2028\u2029") & set(inside)


def test_a_json_block_refuses_what_json_does_not_know() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_block(float("nan"), "x")


def test_a_script_is_allowed_by_the_hash_of_what_stands_on_the_page() -> None:
    script, allowed = own_script("let a = '</script><!--';\r\n")
    (found,) = Page(script.text).code
    digest = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
    assert allowed == f"'sha256-{digest}'"
    assert "\r" not in found


def test_none_is_nothing_and_lists_are_flattened() -> None:
    assert join("a", None, ["b", [Html("<br>")]]).text == "ab<br>"
    assert element("br").text == "<br>"
    assert element("p", id=None).text == "<p></p>"


def test_rows_keep_cells_that_are_cells_already() -> None:
    (row,) = rows_of([["a", element("th", "b")]])
    assert row.text == "<tr><td>a</td><th>b</th></tr>"


def test_the_title_is_text() -> None:
    assert "<title>&lt;b&gt;</title>" in page("<b>", None, "body")


def test_very_long_text_is_cut() -> None:
    assert len(escaped("x" * 200_000)) < 60_000
