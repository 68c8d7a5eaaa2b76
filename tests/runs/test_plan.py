"""The plan of a batch."""

import json
import os
import time

import pytest

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.runs import video_list
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
    assert [(clip.sequence.name, clip.first_annotated, len(clip.sequence)) for clip in clips] == [
        ("one", 0, 2),
        ("shop/2", 1, 3),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.txt", "a,b", "jsonl, .csv or .tsv"),
        ("list.csv", "video,mask\n", "at least one"),
        ("list.csv", "", "at least one"),
        ("list.csv", "film,mask\na.mp4,a.png\n", "met: film,mask.*Write the line video,mask"),
        ("list.csv", "a.mp4,a.png\n", "header.*met: a.mp4,a.png.*Write the line video,mask"),
        ("list.csv", "video,mask,Mask\na.mp4,a.png,b.png\n", "mask once"),
        ("list.csv", "\ufeffvideo|mask\na.mp4|a.png\n", "header.*met: video.mask"),
        ("list.csv", "video,mask\nb\\a.mp4,a.png\n", "Write / instead"),
        ("list.jsonl", '{"video": "a.mp4"}', "no mask"),
        ("list.jsonl", "{oops", "JSON lines"),
        ("list.jsonl", "[1]", "no object"),
        ("list.jsonl", '{"video": "a.mp4", "mask": "m", "id": "../../x"}', "below the output"),
        ("list.jsonl", "{oops\n[1]\n", "JSON lines.*row 1"),
        ("list.csv", '"video,mask\na.mp4,a.png\n', "JSON lines or CSV"),
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


GOOD = '{"video": "good.mp4", "mask": "m.png"}'


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{oops", "JSON lines"),
        ("[1]", "no object"),
        ("[" * 5000, "JSON lines"),
        ('{"video": "a.mp4"}', "no mask; there is video"),
        ('{"video": ["a.mp4"], "mask": "m"}', "video is"),
        ('{"video": true, "mask": "m"}', "video is True"),
        ('{"video": "a\\u0000b", "mask": "m"}', r"a\\x00b"),
        ('{"video": "a.mp4", "mask": "\\ud800"}', r"mask is '\\ud800'"),
        ('{"video": "a.mp4", "mask": "m", "id": "\\ud800"}', r"id is '\\ud800'"),
        ('{"video": "a.mp4", "mask": "m", "id": {"a": 1}}', "id is"),
        ('{"video": "a.mp4", "mask": "m", "id": "../../x"}', "below the output.*has '..'"),
        ('{"video": "a.mp4", "mask": "m", "id": "/etc/x"}', "is absolute"),
        ('{"video": "a.mp4", "mask": "m", "id": "~/x"}', "begins with '~'"),
        ('{"video": "~x.mp4", "mask": "m"}', "begins with '~'"),
        ('{"video": "a.mp4", "mask": "m", "id": "%s"}' % ("x" * 245), "245 bytes"),
        ('{"video": "a.mp4", "mask": "m", "id": "summary.json"}', "a file of the batch"),
        ('{"video": "a.mp4", "mask": "m", "id": "Failures.part1.jsonl"}', "a file of the batch"),
        ('{"video": "a.mp4", "mask": "m", "id": ".hidden"}', "hidden"),
        ('{"video": "a.mp4", "mask": "m", "id": "nul.txt"}', "device"),
        ('{"video": "a.mp4", "mask": "m", "id": "good"}', "'good' again"),
        ('{"video": "a.mp4", "mask": "m", "id": "good/"}', "'good' again"),
        ('{"video": "a.mp4", "mask": "m", "id": "GOOD"}', "'GOOD' beside 'good'"),
        ('{"video": "a.mp4", "mask": "m", "id": "good/masks"}', "'good/masks' beside 'good'"),
        ('{"video": "%s", "mask": "m"}' % ("a/" * 3000), "at most 4096 bytes"),
        ('{"video": "a.mp4", "mask": "m", "note": "%s"}' % ("x" * 70_000), "more than 65536"),
        (b'{"video": "\xff.mp4", "mask": "m"}', r"\\udcff"),
    ],
)  # fmt: skip
def test_a_bad_row_fails_in_its_turn_and_the_others_are_segmented(tmp_path, row, message):
    row = row if isinstance(row, bytes) else row.encode()
    content = b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n\n" + row + b"\n"
    (tmp_path / "list.jsonl").write_bytes(content + GOOD.replace("good", "last").encode())
    good, bad, last = plan_videos(tmp_path / "list.jsonl")
    assert (good.name, bad.name, last.name) == ("good", "row 3", "last")
    with pytest.raises(InputError, match=message) as caught:
        bad.open()
    assert "list.jsonl, row 3" in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


def test_an_id_above_another_is_refused_too(tmp_path):
    rows = [{"video": "a.mp4", "mask": "m", "id": name} for name in ("x/a", "x", "x/b", "X/c")]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items = plan_videos(tmp_path / "list.jsonl")
    assert [item.name for item in items] == ["x/a", "row 2", "x/b", "X/c"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"a.mp4,m.png', "end of data"),
        ('"a.mp4"x,m.png', "expected after"),
        ("a,b.mp4,m.png,", "4 cells, the header has 3"),
        ("a.mp4", "no mask"),
        (",m.png", "no video.*Name both"),
        ('"a\nb.mp4",m.png', r"a\\nb"),
        ("a\0.mp4,m.png", r"a\\x00"),
        ("x" * 140_000 + ",m.png", "more than 65536"),
    ],
)
def test_a_bad_row_of_csv_does_not_hide_the_next_ones(tmp_path, row, message):
    text = f"\ufeff video , mask ,note\r\ngood.mp4,m.png\r\n\r\n{row}\r\nlast.mp4,m.png,x\r\n"
    row_is_wider = row.count(",") == 3
    (tmp_path / "list.csv").write_text(text.replace(row, f"{row}y") if row_is_wider else text)
    items = plan_videos(tmp_path / "list.csv")
    assert [item.name for item in items] == ["good", "row 2", "last"]
    with pytest.raises(InputError, match=message) as caught:
        items[1].open()
    assert "list.csv, row 2" in str(caught.value)


ROWS = [("a.mp4", "a.png"), ("b, c.mp4", "b.png")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header", ["video,mask", "Video,MASK", " video , mask ", "note,Mask,video"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_of_every_program_is_read(tmp_path, delimiter, header, encoding, end):
    columns = [name.strip().casefold() for name in header.split(",")]
    lines = [header.replace(",", delimiter), delimiter]
    for row in ROWS:
        cells = [dict(zip(("video", "mask"), row, strict=True)).get(name, "") for name in columns]
        lines.append(delimiter.join(f'"{cell}" ' if "," in cell else f" {cell} " for cell in cells))
    text = "\ufeff" + end.join(lines) if encoding == "utf-16-be" else end.join(lines)
    if any('" ' in line for line in lines):
        text = text.replace('" ', '"')
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    assert [item.name for item in plan_videos(tmp_path / "list.csv")] == ["a", "b, c"]
    (tmp_path / "list.csv").rename(tmp_path / "list.TSV")
    assert len(plan_videos(tmp_path / "list.TSV")) == 2


def test_the_delimiter_may_be_stated_as_for_excel(tmp_path):
    (tmp_path / "list.csv").write_text("sep=|\r\nvideo|mask\r\na.mp4|a.png\r\n")
    assert [item.name for item in plan_videos(tmp_path / "list.csv")] == ["a"]


def test_spaces_around_values_do_not_count(tmp_path, make_clip):
    make_clip(tmp_path / "one", 2)
    row = "shop/1 , one , one-masks/00001.png ,1 "
    (tmp_path / "list.csv").write_text(f"id,video,mask,frame\n{row}\n")
    (item,) = plan_videos(tmp_path / "list.csv")
    assert (item.name, item.open().first_annotated) == ("shop/1", 1)


def test_a_damaged_utf_16_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes("video,mask\na,b\n".encode("utf-16") + b"\0")
    with pytest.raises(InputError, match="UTF-8 or UTF-16"):
        plan_videos(tmp_path / "list.csv")


def test_a_folder_of_videos_has_masks_beside_them(tmp_path):
    for name in (
        "clip10.mp4", "clip10.png", "clip2.MOV", "clip2_mask.png", "c d.webm", "c d.json", "x.avi",
        "x/first.png", "none.mkv", "two.mp4", "two.png", "two_mask.png", "._clip2.MOV", "notes.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    items = {item.name: item for item in plan_videos(tmp_path)}
    assert list(items) == ["c d", "clip2", "clip10", "none.mkv", "two.mp4", "x"]
    with pytest.raises(
        InputError, match=r"met: none of none\.png, none_mask\.png.*Name its mask so"
    ):
        items["none.mkv"].open()
    with pytest.raises(InputError, match=r"met: two\.png and two_mask\.png"):
        items["two.mp4"].open()
    masks = {name: item.open.masks[""] for name, item in items.items() if "." not in name}
    assert {name: os.path.basename(mask) for name, mask in masks.items()} == {
        "c d": "c d.json", "clip2": "clip2_mask.png", "clip10": "clip10.png", "x": "first.png",
    }  # fmt: skip


def test_a_folder_without_videos_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(InputError, match="met: a.txt.*Give a list"):
        plan_videos(tmp_path)


def test_text_in_quotes_may_have_commas_and_lines(tmp_path):
    (tmp_path / "list.csv").write_text('note,video,mask\n"red,\n""big""", "a,b.mp4",m.png\n')
    assert [item.name for item in plan_videos(tmp_path / "list.csv")] == ["a,b"]


def test_ids_and_frames_may_be_numbers(tmp_path, make_clip):
    make_clip(tmp_path / "one", 2)
    row = {"video": "one", "mask": "one-masks/00001.png", "id": 0, "frame": 1}
    (tmp_path / "list.jsonl").write_text(json.dumps(row))
    (item,) = plan_videos(tmp_path / "list.jsonl")
    assert item.name == "0" and item.open().first_annotated == 1


def test_nothing_in_a_row_is_expanded(tmp_path, make_clip, monkeypatch):
    monkeypatch.setenv("HOME", str(make_clip(tmp_path / "home", 2).parent))
    row = {"video": "~/home", "mask": "~/home-masks/00000.png"}
    (tmp_path / "list.jsonl").write_text(json.dumps(row))
    (item,) = plan_videos(tmp_path / "list.jsonl")
    with pytest.raises(InputError, match="~/home"):
        item.open()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_list_has_limits(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"list{suffix}"
    path.write_text("video,mask\n" * 30 if suffix == ".csv" else "{}\n" * 30)
    monkeypatch.setattr(video_list, "MAX_ROWS", 20)
    with pytest.raises(InputError, match="at most 20 rows"):
        plan_videos(path)
    monkeypatch.setattr(video_list, "MAX_LIST_BYTES", 50)
    with pytest.raises(InputError, match="at most 50 bytes"):
        plan_videos(path)


def test_a_list_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "list.jsonl")
    with pytest.raises(InputError, match="named pipe"):
        plan_videos(tmp_path / "list.jsonl")
    (tmp_path / "list.csv").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="device"):
        plan_videos(tmp_path / "list.csv")


def test_quotes_without_an_end_cost_no_endless_time(tmp_path):
    (tmp_path / "list.csv").write_text("video,mask\na.mp4,m\n" + '"x\n' * 50_000)
    start = time.process_time()
    assert len(plan_videos(tmp_path / "list.csv")) == 50_001
    assert time.process_time() - start < 5


def test_a_sequence_that_no_result_can_have_the_name_of_fails_in_its_turn(tmp_path, make_dataset):
    root = make_dataset(tmp_path, {"bag": 1, "~shoe": 1, "summary.json": 1, "x" * 210: 1})
    items = plan_dataset(open_dataset("gygo", root), "val")
    assert [item.name for item in items] == ["bag", "~shoe", "summary.json", "x" * 100]
    assert items[0].open().sequence.name == "bag"
    for item in items[1:]:
        with pytest.raises(InputError, match=r"below the output folder.*val\.txt"):
            item.open()
