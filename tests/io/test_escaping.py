"""Escaping of text from data for terminals, CSV and Markdown."""

import pytest

from deeplab_gygo.io.escaping import csv_cell, is_printable, markdown, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("shoe", "shoe"),
        ("schön 靴 👟", "schön 靴 👟"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
        ("\x9b2J", r"\x9b2J"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("\ud800\u2028", r"\ud800\u2028"),
    ],
)
def test_what_a_terminal_would_obey_is_visible(text, shown):
    assert printable(text) == shown
    assert is_printable(text) == (text == shown)
    printable(text).encode()


@pytest.mark.parametrize("text", ["=1", "+1+1", "-1-1", "@A1", "＝1", "－x", "=cmd|' /C calc'!A0"])
def test_a_formula_is_text(text):
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-0.5", "+1", "1e-3", "bear_1", "", "a=b", -0.5, None, 3])
def test_numbers_and_names_stay(value):
    assert csv_cell(value) == value


def test_a_hidden_formula_is_no_formula():
    assert csv_cell("\t=1") == r"\t=1" and csv_cell("\r=1") == r"\r=1"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("batch-00001/dance_twirl", "batch-00001/dance_twirl"),
        ("J&F", "J&F"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("&lt;b&gt; &#60;", "&amp;lt;b&amp;gt; &amp;#60;"),
        ("a|b\\|c", r"a\|b\\\|c"),
        ("[a](b) `c` *d* _e_", r"\[a\](b) \`c\` \*d\* \_e\_"),
        ("a\nb", r"a\\nb"),
    ],
)
def test_markdown_shows_text_as_it_is(text, escaped):
    assert markdown(text) == escaped
