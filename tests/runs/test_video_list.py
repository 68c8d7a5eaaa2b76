"""What a batch takes as its videos: columns, standard input, folders, patterns, pictures, URLs."""

import io
import json
import pickle
import shutil
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.atomic import files_below
from deeplab_gygo.io.storage import write_url
from deeplab_gygo.runs.plan import plan_dataset, plan_videos
from deeplab_gygo.runs.video_list import parse_columns


def _write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def _summary(items):
    """Name of each item, with its video and masks; without where one is unusable."""
    return [
        (item.name, item.open.video, item.open.masks) if hasattr(item.open, "video") else item.name
        for item in items
    ]


@pytest.fixture
def give(monkeypatch):
    """Function that puts a text on standard input."""

    def set_input(text):
        content = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    return set_input


# Columns


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_columns_are_mapped_in_any_case(tmp_path, kind):
    row = {"Film": "a.mp4", "First Mask": "a.png", "SKU": "x/1", "frame": "7", "id": "9"}
    path = tmp_path / f"list.{kind}"
    path.write_text(
        json.dumps(row) if kind == "jsonl" else f"{','.join(row)}\n{','.join(row.values())}\n"
    )
    columns = parse_columns("video=film, mask=FIRST MASK, id=sku")
    (item,) = plan_videos(path, columns=columns)
    assert _summary([item]) == [("x/1", f"{tmp_path}/a.mp4", {"": f"{tmp_path}/a.png"})]
    # Columns of the same names as ours may be something else in a table of somebody.
    assert item.open.frame is None
    (item,) = plan_videos(path, columns={"video": "film", "mask": "first mask"})
    assert item.name == "a"


@pytest.mark.parametrize(
    "text", ["", "video", "video=", "=a", "film=a", "video=a,video=b", "video=a,,mask=b"]
)
def test_columns_that_are_no_pairs_are_refused(text):
    with pytest.raises(UsageError, match="named in pairs, of video, mask, id, frame"):
        parse_columns(text)


def test_a_header_without_a_mapped_column_names_it(tmp_path):
    (tmp_path / "list.csv").write_text("film,mask\na,b\n")
    with pytest.raises(InputError, match="names film and mask and sku once; met: film,mask"):
        plan_videos(tmp_path / "list.csv", columns={"video": "film", "id": "sku"})


def test_columns_of_a_folder_are_refused(tmp_path):
    with pytest.raises(UsageError, match="Columns are those of a list"):
        plan_videos(tmp_path, columns={"video": "film"})


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_comments_and_blank_lines_are_no_rows(tmp_path, kind, caplog):
    row = '{"video": "a.mp4", "mask": "a.png"}' if kind == "jsonl" else "a.mp4,a.png"
    head = [] if kind == "jsonl" else ["video,mask"]
    lines = ["# clips of May", "", *head, " # red", row, "", row.replace("a.", "b.")]
    (tmp_path / f"list.{kind}").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    with caplog.at_level("INFO"):
        assert [item.name for item in plan_videos(tmp_path / f"list.{kind}")] == ["a", "b"]
    assert "2 lines that begin with # are comments" in caplog.text


def test_masks_of_several_frames(tmp_path, make_clip):
    make_clip(tmp_path / "one", 5)
    masks = {"0": "one-masks/00000.png", "00003": "one-masks/00003.png"}
    (tmp_path / "list.jsonl").write_text(json.dumps({"video": "one", "mask": masks}))
    (item,) = plan_videos(tmp_path / "list.jsonl")
    with item.opened() as clip:
        assert sorted(clip.annotations) == [0, 3]


# Standard input


@pytest.mark.parametrize(
    "text",
    [
        '\n# comment\n{"video": "one", "mask": "one-masks/00000.png"}\n',
        b"\xef\xbb\xbfvideo;mask\r\none;one-masks/00000.png\r\n",
    ],
)
def test_a_list_on_standard_input_starts_at_the_current_folder(
    tmp_path, make_clip, monkeypatch, give, text
):
    make_clip(tmp_path / "one", 2)
    monkeypatch.chdir(tmp_path)
    give(text)
    (item,) = plan_videos("-")
    with item.opened() as clip:
        assert (item.name, len(clip.sequence), clip.first_annotated) == ("one", 2, 0)


def test_errors_of_standard_input_name_it_and_its_rows(give):
    give('{"video": "a.mp4"}\n')
    with pytest.raises(InputError, match=r"no mask.*\(standard input, row 1\)"):
        plan_videos("-")
    give("")
    with pytest.raises(InputError, match=r"at least one.*\(standard input\)"):
        plan_videos("-")


# Without masks


@pytest.mark.parametrize("text", ["video\na.mp4\n", "video,mask\na.mp4,\n", "x;video\n;a.mp4\n"])
def test_rows_of_zero_shot_have_no_mask(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    assert _summary(plan_videos(tmp_path / "list.csv", needs_mask=False)) == [
        ("a", f"{tmp_path}/a.mp4", {})
    ]
    with pytest.raises(InputError, match="mask"):
        plan_videos(tmp_path / "list.csv")


def test_a_zero_shot_clip_opens_without_a_mask(tmp_path, make_clip):
    make_clip(tmp_path / "one", 2)
    (tmp_path / "list.csv").write_text("video\none\n")
    with plan_videos(tmp_path / "list.csv", needs_mask=False)[0].opened() as clip:
        assert not clip.annotations


def test_a_split_without_annotations_is_planned_for_zero_shot(tmp_path, make_dataset):
    root = make_dataset(tmp_path, {"bag": 2})
    shutil.rmtree(root / "Annotations" / "480p" / "bag")
    dataset = open_dataset("gygo", root)
    with plan_dataset(dataset, "val", needs_mask=False)[0].opened() as clip:
        assert not clip.annotations
    with pytest.raises(InputError):
        plan_dataset(dataset, "val")[0].open()


# Folders and patterns


def test_pictures_of_a_folder_are_clips(tmp_path):
    _write(
        tmp_path, "red.jpg", "red.png", "blue.png", "blue_mask.png", "shoe.webp", "shoe/first.png",
        "bag.jpg", "bag.json", "none.jpeg", "notes.txt", ".hidden.jpg",
    )  # fmt: skip
    items = plan_videos(tmp_path)
    assert _summary(items) == [
        ("bag", f"{tmp_path}/bag.jpg", {"": f"{tmp_path}/bag.json"}),
        ("blue", f"{tmp_path}/blue.png", {"": f"{tmp_path}/blue_mask.png"}),
        "none.jpeg",
        ("red", f"{tmp_path}/red.jpg", {"": f"{tmp_path}/red.png"}),
        ("shoe", f"{tmp_path}/shoe.webp", {"": f"{tmp_path}/shoe/first.png"}),
    ]
    with pytest.raises(InputError, match=r"none of none\.png, none_mask\.png"):
        items[2].open()
    assert [item.name for item in plan_videos(tmp_path, needs_mask=False)] == [
        "bag", "blue", "none", "red", "shoe",
    ]  # fmt: skip


def test_pictures_beside_videos_are_no_clips(tmp_path):
    _write(tmp_path, "a.mp4", "a.png", "cover.jpg")
    assert [item.name for item in plan_videos(tmp_path)] == ["a"]


def test_a_row_may_be_a_picture(tmp_path, make_clip):
    make_clip(tmp_path / "one", 1)
    (tmp_path / "list.csv").write_text("video,mask\none/00000.jpg,one-masks/00000.png\n")
    with plan_videos(tmp_path / "list.csv")[0].opened() as clip:
        assert len(clip.sequence) == 1


def test_a_pattern_names_clips_below_its_first_part(tmp_path, monkeypatch):
    _write(
        tmp_path / "in", "may/1.mp4", "may/1.png", "may/2.mp4", "june/1.mp4", "june/1_mask.png",
        "june/notes.txt", "other/1.mov",
    )  # fmt: skip
    found = _summary(plan_videos(f"{tmp_path}/in/*/*.mp4"))
    folder = f"{tmp_path}/in"
    assert found == [
        ("june/1", f"{folder}/june/1.mp4", {"": f"{folder}/june/1_mask.png"}),
        ("may/1", f"{folder}/may/1.mp4", {"": f"{folder}/may/1.png"}),
        "may/2.mp4",
    ]
    monkeypatch.chdir(tmp_path / "in" / "may")
    assert _summary(plan_videos("1.*")) == [("1", "./1.mp4", {"": "./1.png"})]
    with pytest.raises(InputError, match="met: nothing"):
        plan_videos(str(tmp_path / "*.mp4"))


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path):
    _write(tmp_path / "clips [new]", "a.mp4", "a.png")
    assert [item.name for item in plan_videos(tmp_path / "clips [new]")] == ["a"]


def test_large_folders_take_linear_time(tmp_path, monkeypatch):
    names = [f"{number:05d}{end}" for number in range(5000) for end in (".jpg", ".png")]
    monkeypatch.setattr("deeplab_gygo.runs.video_folder._entries", lambda folder: names)
    start = time.process_time()
    assert len(plan_videos(tmp_path)) == 5000
    assert time.process_time() - start < 4


# URLs


@contextmanager
def _at(url):
    yield url


def test_lists_folders_and_rows_may_be_urls(tmp_path):
    base = "memory://lists-and-folders"
    for name in ("in/a.mp4", "in/a.png", "in/sub/b.mov", "in/sub/b_mask.png", "in/c.txt"):
        write_url(f"{base}/{name}", b"")
    rows = [
        {"video": "in/a.mp4", "mask": "in/a.png"},
        {"video": f"{tmp_path}/b.mp4", "mask": "https://host/red%20mask.png?key=secret"},
        {"video": "https://me:secret@host/red%20shoe.mp4?key=secret", "mask": "in/a.png"},
    ]
    write_url(f"{base}/list.jsonl", "\n".join(map(json.dumps, rows)).encode())
    items = plan_videos(f"{base}/list.jsonl")
    assert _summary(items) == [
        ("a", f"{base}/in/a.mp4", {"": f"{base}/in/a.png"}),
        ("b", f"{tmp_path}/b.mp4", {"": rows[1]["mask"]}),
        ("red shoe", rows[2]["video"], {"": f"{base}/in/a.png"}),
    ]
    assert [item.size_hint() for item in items] == [0, 0, 0]
    a = ("a", f"{base}/in/a.mp4", {"": f"{base}/in/a.png"})
    assert _summary(plan_videos(f"{base}/in")) == [a]
    assert _summary(plan_videos(f"{base}/in/*.mp4")) == [a]
    assert _summary(plan_videos(f"{base}/in/**")) == [
        a, ("sub/b", f"{base}/in/sub/b.mov", {"": f"{base}/in/sub/b_mask.png"}),
    ]  # fmt: skip


def test_folders_and_patterns_of_a_bucket(bucket):
    for name in ("clips/a.mp4", "clips/a.png", "clips/b.mp4", "clips/b/first.png"):
        write_url(f"{bucket}/{name}", b"-")
    found = [
        (name, f"{bucket}/clips/{name}.mp4", {"": f"{bucket}/clips/{mask}"})
        for name, mask in (("a", "a.png"), ("b", "b/first.png"))
    ]
    assert _summary(plan_videos(f"{bucket}/clips")) == found
    assert _summary(plan_videos(f"{bucket}/clips/*.mp4")) == found
    write_url(f"{bucket}/list.csv", b"video,mask\nclips/a.mp4,clips/a.png\n")
    assert _summary(plan_videos(f"{bucket}/list.csv")) == found[:1]
    with pytest.raises(InputError, match=r"met: nothing"):
        plan_videos(f"{bucket}/none/*.mp4")


def test_no_message_about_a_url_has_its_key():
    url = "memory://me:secret@lists/bad.csv?key=secret"
    with pytest.raises(InputError) as caught:
        plan_videos(url)
    assert "secret" not in str(caught.value)
    write_url("memory://lists/keys.jsonl", b'{"video": "https://a:secret@b/c\\u0000", "mask": "m"}')
    with pytest.raises(InputError) as caught:
        plan_videos("memory://lists/keys.jsonl")
    assert "secret" not in str(caught.value)


def test_remote_files_are_local_while_a_clip_is_open(tmp_path, make_clip, monkeypatch):
    make_clip(tmp_path / "one", 1)
    open_copies = []

    class Scratch:
        @contextmanager
        def local(self, url):
            open_copies.append(url)
            yield tmp_path / url.partition("bucket/")[2]
            open_copies.remove(url)

    module = SimpleNamespace(scratch=Scratch)
    monkeypatch.setitem(sys.modules, "deeplab_gygo.io.scratch", module)
    write_url("memory://bucket/list.csv", b"video,mask,id\none/00000.jpg,one-masks/00000.png,red\n")
    (item,) = plan_videos("memory://bucket/list.csv")
    with pickle.loads(pickle.dumps(item)).opened() as clip:
        assert clip.sequence.name == "red" and clip.mask.any()
        assert open_copies == [
            "memory://bucket/one/00000.jpg", "memory://bucket/one-masks/00000.png"
        ]  # fmt: skip
    assert not open_copies


# Items


def test_items_go_to_other_processes(tmp_path, make_dataset):
    root = make_dataset(tmp_path / "data", {"bag": 2, "shoes/red": 3})
    dataset = open_dataset("gygo", root)
    items = plan_dataset(dataset, "val")
    items[0].open()  # what the dataset has read is not sent
    sent = [pickle.loads(pickle.dumps(item)) for item in items]
    assert max(len(pickle.dumps(item)) for item in items) < 1000
    with sent[1].opened() as clip:
        assert (sent[1].name, len(clip.sequence), clip.truth(1).any()) == ("shoes/red", 3, True)
    assert sent[0].open.dataset is sent[1].open.dataset
    (tmp_path / "list.jsonl").write_text('{oops\n{"video": "a.mp4", "mask": "m"}\n')
    bad, good = pickle.loads(pickle.dumps(plan_videos(tmp_path / "list.jsonl")))
    assert good.name == "a"
    with pytest.raises(InputError, match="row 1"), bad.opened():
        pass


def test_items_do_not_depend_on_the_folder_of_a_process(
    tmp_path, make_clip, make_dataset, monkeypatch
):
    make_clip(tmp_path / "one", 2)
    make_dataset(tmp_path / "data", {"bag": 2})
    (tmp_path / "list.csv").write_text("video,mask\none,one-masks/00000.png\n")
    monkeypatch.chdir(tmp_path)
    items = plan_videos("list.csv") + plan_dataset(open_dataset("gygo", "data"), "val")
    sent = pickle.dumps(items)
    monkeypatch.chdir("/")
    for item in pickle.loads(sent):
        with item.opened() as clip:
            assert len(clip.sequence) == 2 and clip.mask.any()


def test_a_sequence_of_a_remote_dataset_goes_to_another_process(
    tmp_path, make_dataset, scratch_folder
):
    root = make_dataset(tmp_path / "data", {"bag": 2})
    for name in files_below(root):
        write_url(f"memory://remote/data/{name}", (root / name).read_bytes())
    (item,) = plan_dataset(open_dataset("gygo", "memory://remote/data"), "val")
    assert item.size_hint() >= 0
    with pickle.loads(pickle.dumps(item)).opened() as clip:
        assert len(clip.sequence) == 2 and clip.truth(1).any()


def test_the_longest_are_known_without_decoding(tmp_path, make_dataset):
    root = make_dataset(tmp_path / "data", {"short": 2, "long": 4})
    short, long = plan_dataset(open_dataset("gygo", root), "val")
    assert 0 < short.size_hint() * 2 == long.size_hint()
    (tmp_path / "a.mp4").write_bytes(bytes(500))
    rows = [{"video": name, "mask": "m"} for name in ("a.mp4", "none.mp4", "x" * 5000)]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [item.size_hint() for item in plan_videos(tmp_path / "list.jsonl")] == [500, 0, 0]


def test_a_list_of_twenty_thousand_is_small(tmp_path):
    lines = [f"videos/{n:05d}.mp4,masks/{n:05d}.png,shop/{n}" for n in range(20_000)]
    (tmp_path / "list.csv").write_text("video,mask,id\n" + "\n".join(lines))
    items = plan_videos(tmp_path / "list.csv")
    assert len(items) == 20_000
    assert len(pickle.dumps(items)) < 8e6
