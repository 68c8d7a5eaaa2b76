"""Names from data that become paths."""

import pytest

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.names import folded, path_inside, safe_relative


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("shoe", "shoe"),
        ("batch-00001/toy", "batch-00001/toy"),
        ("./a//b/", "a/b"),
        ("red shoe#3 靴", "red shoe#3 靴"),
        ("a..b/c~", "a..b/c~"),
        ("console/auxiliary", "console/auxiliary"),
    ],
)
def test_names_below_a_folder_are_taken_as_they_are(name, path):
    assert safe_relative(name, "list") == path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "names nothing"),
        ("./", "names nothing"),
        ("../a", "has '..'"),
        ("a/..", "has '..'"),
        ("/a", "is absolute"),
        ("C:a", "is absolute"),
        ("a\\b", "backslash"),
        ("a\0b", r"'a\x00b' has a character that is not printable"),
        ("a\nb", "not printable"),
        ("\udcff", "not printable"),
        ("a\u202eb", "not printable"),
        ("靴" * 86, "258 bytes"),
        ("a/" * 600, "1200 bytes"),
    ],
)
@pytest.mark.parametrize("result", [True, False])
def test_names_that_leave_a_folder_or_fit_none_are_refused(name, reason, result):
    with pytest.raises(InputError) as caught:
        safe_relative(name, "list.csv, row 3", rule="A rule", result=result)
    assert reason in str(caught.value) and "(list.csv, row 3)" in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "name",
    ["~/a", "~root", ".a", "a/.b", "a.", "a ", "b/a .", "CON", "nul.txt", "a/com1.x", "LPT9",
     "summary.json", "Summary-part1.JSON", "failures.jsonl", "x" * 201],
)  # fmt: skip
def test_reserved_names_are_refused_for_results_only(name):
    with pytest.raises(UsageError, match="A name that becomes a path"):
        safe_relative(name, "list", error=UsageError)
    assert safe_relative(name, "list", result=False) == name


def test_names_that_some_file_system_takes_for_one_fold_to_one():
    assert folded("Caf\u00e9") == folded("CAFE\u0301") != folded("cafe")


def test_a_path_does_not_leave_a_folder_by_links(tmp_path):
    out = tmp_path / "out"
    (out / "real").mkdir(parents=True)
    (out / "within").symlink_to("real")
    (out / "leaves").symlink_to(tmp_path)
    (out / "round").symlink_to("round")
    (tmp_path / "link-to-out").symlink_to(out)
    assert path_inside(out, "new/red") == out / "new" / "red"
    assert path_inside(out, "within/red") == out / "within" / "red"
    assert path_inside(tmp_path / "link-to-out", "red") == tmp_path / "link-to-out" / "red"
    for name in ("leaves", "leaves/red", "round/red"):
        with pytest.raises(InputError, match="Remove the link"):
            path_inside(out, name)
