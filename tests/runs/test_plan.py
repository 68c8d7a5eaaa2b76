"""The plan of a batch."""

import json

import pytest

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.runs.plan import part_of, plan_dataset, plan_videos


def test_a_split_is_planned_in_its_order_with_slashes_in_names(tmp_path, make_dataset):
    root = make_dataset(tmp_path, {"shoes/red": 2, "bag": 3})
    items = plan_dataset(open_dataset("gygo", root), "VAL")
    assert [item.name for item in items] == ["shoes/red", "bag"]
    clip = items[0].open()
    assert (clip.sequence.name, clip.start, clip.object_ids, len(clip.sequence)) == (
        "shoes/red",
        0,
        [1],
        2,
    )
    assert set(clip.truth(1).ravel()) == {0, 1}


def test_an_absent_sequence_fails_only_when_its_turn_comes(tmp_path, make_dataset):
    root = make_dataset(tmp_path, {"bag": 2})
    (root / "ImageSets" / "val.txt").write_text("ghost\nbag\n")
    ghost, bag = plan_dataset(open_dataset("gygo", root), "val")
    assert bag.open().sequence.name == "bag"
    with pytest.raises(InputError, match=r"ghost.*val\.txt.*remove 'ghost'"):
        ghost.open()


def test_parts_share_the_work_without_loss_or_repetition(tmp_path, make_dataset):
    root = make_dataset(tmp_path, {f"s{k}": 1 for k in range(7)})
    items = plan_dataset(open_dataset("gygo", root), "val")
    parts = [part_of(items, 3, index) for index in range(3)]
    assert sorted(item.name for part in parts for item in part) == [f"s{k}" for k in range(7)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("parts", "index"), [(0, 0), (3, 3), (3, -1)])
def test_a_part_that_does_not_exist_is_refused(parts, index):
    with pytest.raises(UsageError, match="part"):
        part_of([], parts, index)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_list_of_videos_starts_at_its_own_folder(tmp_path, make_clip, kind):
    make_clip(tmp_path / "clips" / "one", 2)
    make_clip(tmp_path / "clips" / "two", 3)
    rows = [
        {"video": "one", "mask": "one-masks/00000.png", "id": "", "frame": ""},
        {"video": "two", "mask": "two-masks/00001.png", "id": "shop/2", "frame": "00001"},
    ]
    manifest = tmp_path / "clips" / f"list.{kind}"
    if kind == "jsonl":
        manifest.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    else:
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        manifest.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    items = plan_videos(manifest)
    assert [item.name for item in items] == ["one", "shop/2"]
    clips = [item.open() for item in items]
    assert [(clip.sequence.name, clip.start, len(clip.sequence)) for clip in clips] == [
        ("one", 0, 2),
        ("shop/2", 1, 3),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.txt", "a,b", "jsonl or .csv"),
        ("list.csv", "video,mask\n", "at least one"),
        ("list.csv", "film,mask\na.mp4,a.png\n", "no video; there is film, mask.*row 1|row 1.*"),
        ("list.jsonl", '{"video": "a.mp4"}', "no mask"),
        ("list.jsonl", "{oops", "JSON lines"),
        ("list.jsonl", "[1]", "no object"),
        ("list.jsonl", '{"video": "a.mp4", "mask": "m", "id": "../../x"}', "below the output"),
        ("list.jsonl", '{"video": "a.mp4", "mask": "m"}\n{"video": "b/a.mp4", "mask": "m"}',
         "'a' again.*row 2"),
    ],
)  # fmt: skip
def test_an_unusable_list_names_its_row_and_rule(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        plan_videos(tmp_path / name)
    assert name in str(caught.value)


def test_a_missing_list_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        plan_videos(tmp_path / "none.csv")
