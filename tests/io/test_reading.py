"""Untrusted files: pipes, devices, bombs, and documents that would run code."""

import os

import pytest

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io import reading
from deeplab_gygo.io.reading import check_regular, parse_json, parse_yaml, read_bytes, read_json


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="a named pipe"):
        read_bytes(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="a named pipe"):
        check_regular(tmp_path / "pipe.json")


def test_a_device_without_end_is_refused_behind_a_link(tmp_path):
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="a device"):
        read_json(tmp_path / "zero.json")


@pytest.mark.parametrize("name", ["absent", "folder", "zero\0byte", "n" * 300])
def test_what_is_no_file_is_an_error_of_the_asked_class(tmp_path, name):
    (tmp_path / "folder").mkdir()
    for read in (read_bytes, check_regular):
        with pytest.raises(UsageError):
            read(tmp_path / name, error=UsageError)


def test_the_limit_is_the_largest_size(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", 5) == b"12345"
    assert check_regular(tmp_path / "file") == 5
    with pytest.raises(InputError, match="at most 4 bytes; met: 5 bytes"):
        read_bytes(tmp_path / "file", 4)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "list.json").write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, null]}')
    assert read_json(tmp_path / "list.json") == {"a": [1, 2.5, None]}
    (tmp_path / "list.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(InputError, match="UTF-8"):
        read_json(tmp_path / "list.json")


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "[Infinity]", "1e999", "[" * 100_000, "[" * 66 + "]" * 66, "9" * 5000],
    ids=["empty", "open", "nan", "infinity", "float", "endless", "deep", "digits"],
)
def test_json_that_is_no_document_is_refused(text):
    with pytest.raises(InputError, match="JSON is well-formed"):
        parse_json(text, "file")


def test_depth_is_counted_to_the_limit():
    deep = "[" * reading.MAX_DEPTH + "]" * reading.MAX_DEPTH
    assert parse_json(deep, "file") == parse_yaml(deep, "file")
    with pytest.raises(InputError, match="nested deeper"):
        parse_yaml(f"[{deep}]", "file")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:this.s ''",
        "a: &a [*a]",
        "a: *b",
        "a: b: c",
        "[" * 5000,
        "a: 1\n---\nb: 2",
        BOMB,
    ],
    ids=["call", "name", "itself", "unknown", "broken", "deep", "two", "bomb"],
)
def test_yaml_that_is_no_plain_document_is_refused(text):
    with pytest.raises(InputError, match="YAML is well-formed"):
        parse_yaml(text, "file")


def test_an_alias_that_unfolds_to_little_is_read():
    assert parse_yaml("a: &a [1, 2]\nb: *a", "file") == {"a": [1, 2], "b": [1, 2]}
