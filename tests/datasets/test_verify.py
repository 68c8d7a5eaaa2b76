"""Verification of datasets: each kind of damage is found, named and located; intact ones pass."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.datasets.verify import verify_dataset

TOY, CUP, SHOE = "batch-00001/toy", "batch-00001/cup", "batch-00002/shoe"
LISTS = {"Train.txt": f"{TOY}\n{CUP}\n", "val.txt": f"{SHOE}\n"}


@pytest.fixture
def root(build_set):
    return build_set({TOY: 5, CUP: 5, SHOE: 5}, LISTS)


def found(root, kind="gygo", **options):
    """The report without the two warnings that a small set has too few sequences."""
    report = verify_dataset(open_dataset(kind, root), **options)
    return report, [problem for problem in report.problems if "published" not in problem.rule]


def only(problems):
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


@pytest.mark.parametrize("decode", [True, False])
def test_intact_dataset_has_no_problems(root, decode):
    report, problems = found(root, decode=decode)
    assert report.ok and problems == []
    assert (report.sequences, report.frames, report.masks) == (3, 15, 15)
    assert report.split_counts == {"train": 2, "val": 1}
    assert report.decoded is decode


def test_numbers_of_sequences_are_compared_with_the_published_ones(root):
    report = verify_dataset(open_dataset("gygo", root))
    assert report.expected_counts == {"train": 131, "val": 24}
    assert report.ok, "a subset can be used; it is only not comparable"
    assert [problem.severity for problem in report.problems] == ["warning", "warning"]
    assert [problem.met for problem in report.problems] == ["2 in the list", "1 in the list"]
    (root / "ImageSets" / "val.txt").unlink()
    report = verify_dataset(open_dataset("gygo", root))
    assert "no such list" in [problem.met for problem in report.problems]


@pytest.mark.parametrize(
    ("kind", "lists", "expected"),
    [
        ("davis2016", {"480p/train.txt": TOY, "480p/val.txt": SHOE}, {"train": 30, "val": 20}),
        ("davis2017", {"2017/train.txt": TOY, "2017/val.txt": SHOE}, {"train": 60, "val": 30}),
    ],
)
def test_published_numbers_of_davis(build_set, kind, lists, expected):
    root = build_set({TOY: 3, SHOE: 3}, lists, values=(1, 2) if kind == "davis2017" else (255,))
    report, problems = found(root, kind)
    assert report.expected_counts == expected
    assert problems == []


def test_absent_and_unlisted_sequences_are_reported(root, build_set):
    (root / "ImageSets" / "Train.txt").write_text(f"{TOY}\nbatch-9/gone\nbatch-9/lost\n")
    report, problems = found(root)
    absent, unlisted = problems
    assert not report.ok
    assert (absent.severity, absent.met) == ("error", "2 absent: batch-9/gone, batch-9/lost")
    assert absent.file.endswith("Train.txt") and absent.remedy
    assert (unlisted.severity, unlisted.met) == ("warning", f"1 unlisted: {CUP}")


def test_unreadable_list_is_a_problem_not_an_error(root):
    (root / "ImageSets" / "val.txt").write_bytes(b"\0\0")
    report, problems = found(root)
    assert any("text file" in problem.rule for problem in problems)
    assert report.frames == 15


def test_frames_and_masks_are_paired_by_name(root):
    (root / f"Annotations/480p/{TOY}/00003.png").unlink()
    (root / f"JPEGImages/480p/{CUP}/00004.jpg").unlink()
    _, problems = found(root)
    by_sequence = {problem.sequence: problem for problem in problems}
    assert "00003" in by_sequence[TOY].met and "frame" in by_sequence[TOY].rule
    assert "00004" in by_sequence[CUP].met and by_sequence[CUP].rule.startswith("Every mask")
    assert all(problem.severity == "error" for problem in problems)


def test_first_mask_missing(root):
    (root / f"Annotations/480p/{TOY}/00000.png").unlink()
    problem = only(found(root)[1])
    assert problem.rule == "The first frame has a mask" and problem.sequence == TOY


def test_test_splits_need_the_first_mask_only(build_set):
    lists = {"2017/test-dev.txt": TOY, "2017/val.txt": SHOE}
    root = build_set({TOY: 3, SHOE: 3}, lists, values=(1,))
    for name in (TOY, SHOE):
        (root / f"Annotations/480p/{name}/00001.png").unlink()
    assert only(found(root, "davis2017")[1]).sequence == SHOE


def test_gap_in_the_numbers(root):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (root / f"{kind}/480p/{TOY}/00002.{suffix}").unlink()
    report, problems = found(root)
    problem = only(problems)
    assert (problem.severity, report.ok) == ("warning", True)
    assert problem.met == "00001 is followed by 00003"


def test_every_fifth_frame_is_no_gap(root):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = root / f"{kind}/480p/{TOY}"
        for path in sorted(folder.iterdir(), reverse=True):
            path.rename(folder / f"{5 * int(path.stem):05d}.{suffix}")
    assert found(root)[1] == []


@pytest.mark.parametrize("decode", [True, False])
def test_sizes_differ(root, decode):
    Image.new("L", (20, 12)).save(root / f"Annotations/480p/{TOY}/00003.png")
    Image.new("RGB", (16, 20)).save(root / f"JPEGImages/480p/{CUP}/00003.jpg")
    _, problems = found(root, decode=decode)
    by_file = {problem.file[-len("00003.png") :]: problem for problem in problems}
    mask = [problem for problem in problems if problem.sequence == TOY]
    assert only(mask).met == "20x12 for a frame of 16x12"
    assert by_file["00003.jpg"].met == "16x20 after 16x12"


def test_truncated_files_are_found_only_by_decoding(root):
    photo = root / f"JPEGImages/480p/{TOY}/00002.jpg"
    photo.write_bytes(photo.read_bytes()[:-40])
    assert found(root, decode=False)[1] == []
    problem = only(found(root, decode=True)[1])
    assert problem.file == str(photo) and "readable" in problem.rule


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\0\0"])
def test_files_that_are_no_images(root, content, decode):
    (root / f"JPEGImages/480p/{TOY}/00002.jpg").write_bytes(content)
    (root / f"Annotations/480p/{CUP}/00002.png").write_bytes(content)
    _, problems = found(root, decode=decode)
    assert [problem.sequence for problem in problems] == [CUP, TOY]
    assert all("readable" in problem.rule for problem in problems)


@pytest.mark.parametrize(("value", "what"), [(0, "background only"), (255, "is object")])
@pytest.mark.parametrize("decode", [True, False])
def test_first_mask_empty_or_full(root, value, what, decode):
    for index in (0, 3):  # a later mask may be empty: the object left the view
        Image.new("L", (16, 12), value).save(root / f"Annotations/480p/{TOY}/{index:05d}.png")
    report, problems = found(root, decode=decode)
    assert what in only(problems).met and not report.ok


def test_masks_that_are_not_binary(root):
    noisy = np.random.default_rng(0).integers(0, 256, (12, 16), dtype=np.uint8)
    Image.fromarray(noisy).save(root / f"Annotations/480p/{TOY}/00001.png")
    report, problems = found(root)
    problem = only(problems)
    assert (problem.severity, report.ok) == ("warning", True)
    assert "two values" in problem.rule and problem.file.endswith("00001.png")


def test_masks_with_several_objects_are_right_for_2017_only(build_set):
    lists = {"2016/val.txt": TOY, "2017/val.txt": TOY}
    root = build_set({TOY: 3}, lists, values=(1, 2, 255), palette=True)
    assert found(root, "davis2017")[1] == []
    assert len(found(root, "davis2016")[1]) == 3


def test_masks_of_2016_are_wrong_for_2017(build_set):
    root = build_set({TOY: 1}, {"2017/val.txt": TOY}, values=(255,))
    report, problems = found(root, "davis2017")
    assert "DAVIS-2016" in only(problems).remedy and not report.ok


def test_sequence_in_train_and_val(root):
    (root / "ImageSets" / "val.txt").write_text(f"{SHOE}\n{TOY}\n")
    problem = only(found(root)[1])
    assert (problem.severity, problem.sequence) == ("error", TOY)


def test_same_sequence_under_two_names(root):
    photo = (root / f"JPEGImages/480p/{TOY}/00000.jpg").read_bytes()
    (root / f"JPEGImages/480p/{SHOE}/00000.jpg").write_bytes(photo)
    problem = only(found(root)[1])
    assert (problem.severity, problem.sequence) == ("error", SHOE)
    assert TOY in problem.met
    # Two names within one split do not mix training and validation.
    (root / "ImageSets" / "Train.txt").write_text(f"{CUP}\n")
    (root / "ImageSets" / "val.txt").write_text(f"{SHOE}\n{TOY}\n")
    assert found(root)[1] == []


def test_list_names_frames_that_are_absent(root):
    lines = [f"JPEGImages/480p/{TOY}/{index:05d}.jpg x.png" for index in range(7)]
    (root / "ImageSets" / "Train.txt").write_text("\n".join([*lines, CUP]))
    assert only(found(root)[1]).met == "2 absent: 00005, 00006"


def test_folder_without_frames(root):
    for path in (root / f"JPEGImages/480p/{TOY}").iterdir():
        path.unlink()
    (root / f"JPEGImages/480p/{TOY}/readme.txt").touch()
    assert "frames" in found(root)[1][0].rule


def test_two_files_for_a_frame(root):
    (root / f"JPEGImages/480p/{TOY}/00001.png").write_bytes(b"")
    assert only(found(root)[1]).met == "00001.jpg and 00001.png"


def test_report_as_text_and_json(root):
    for index in range(5):
        (root / f"JPEGImages/480p/{TOY}/{index:05d}.jpg").write_bytes(b"no image")
    report, _ = found(root)
    text = report.summary()
    assert "3 sequences, 15 frames, 15 masks" in text
    assert "train 2 (published: 131)" in text
    assert text.index("error:") < text.index("warning:"), "what matters comes first"
    assert text.endswith("5 errors, 2 warnings")
    record = json.loads(report.to_json())
    assert record["ok"] is False and len(record["problems"]) == 7
    assert set(record["problems"][0]) == {
        "severity", "rule", "met", "sequence", "file", "remedy",
    }  # fmt: skip


def test_long_reports_are_shortened_in_the_text_only(root):
    for name in (TOY, CUP, SHOE):
        for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            for index in range(7):
                (root / f"{kind}/480p/{name}/{index:05d}.{suffix}").write_bytes(b"")
    report, problems = found(root)
    assert len(problems) == 42
    assert "and 14 more problems" in report.summary()


def test_progress_is_called_for_every_sequence(root):
    calls = []
    verify_dataset(open_dataset("gygo", root), progress=lambda *call: calls.append(call))
    assert calls == [(1, 3, CUP), (2, 3, TOY), (3, 3, SHOE)]


def test_interruption_cancels_the_remaining_sequences(root):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_dataset(open_dataset("gygo", root), progress=interrupt)


@pytest.mark.slow
def test_published_davis_2016(shared_data):
    report, problems = found(shared_data / "davis16", "davis2016")
    assert report.ok, report.summary()
    assert report.split_counts == {"train": 30, "val_dev": 10}
    assert report.frames == report.masks
    assert problems == []


@pytest.mark.slow
def test_gygo_like_material(shared_data):
    report, problems = found(shared_data / "gygo_like")
    assert report.ok, report.summary()
    assert report.split_counts == {"train": 112, "trainval": 121, "val": 9}
    assert (report.frames, report.masks) == (1300, 1300)
    assert problems == []


def test_part_of_a_real_set_through_links(shared_data, tmp_path):
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / kind / "480p").mkdir(parents=True)
        batch = shared_data / "gygo_like" / kind / "480p" / "batch-00090"
        (tmp_path / kind / "480p" / "batch-00090").symlink_to(batch)
    (tmp_path / "ImageSets").symlink_to(shared_data / "gygo_like" / "ImageSets")
    report, problems = found(tmp_path)
    assert (report.sequences, report.frames, report.masks) == (9, 180, 180)
    assert [problem.met[:10] for problem in problems] == ["112 absent", "112 absent"]


def test_links_in_a_circle_end(root):
    for name in ("one", "two"):
        (root / "JPEGImages" / "480p" / TOY / name).symlink_to("..")
        (root / "Annotations" / "480p" / TOY / name).symlink_to("..")
    report, problems = found(root)
    assert report.ok and problems == [] and report.sequences == 3


def test_pipes_and_devices_among_the_files_are_not_waited_for(root):
    images, masks = (root / kind / "480p" / TOY for kind in ("JPEGImages", "Annotations"))
    for name in ("00000.jpg", "00002.jpg"):
        (images / name).unlink()
        os.mkfifo(images / name)
    (masks / "00003.png").unlink()
    (masks / "00003.png").symlink_to("/dev/zero")
    report, problems = found(root)
    assert not report.ok and {problem.sequence for problem in problems} == {TOY}


def test_control_characters_in_names_are_visible(root):
    (root / "JPEGImages" / "480p" / "a\x1b[2J\u202e").mkdir()
    (root / "JPEGImages" / "480p" / "a\x1b[2J\u202e" / "x\udcff.txt").touch()
    report, _ = found(root)
    assert r"a\x1b[2J\u202e" in report.summary()
    assert report.summary().replace("\n", "").isprintable()
    assert report.to_json().isascii()
