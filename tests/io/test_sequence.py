"""Folders of frames: order, gaps, damage, sizes, orientation, pairing with masks."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.frame_folder import sequence_from_folder
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.io.sequence import Frame
from deeplab_gygo.io.video import open_input


def picture(seed: int, height: int = 24, width: int = 36) -> np.ndarray:
    """A smooth picture that differs with the seed, so that JPEG keeps it nearly."""
    y, x = np.mgrid[:height, :width]
    channels = [(x * 5 + seed * 7) % 200, (y * 7 + seed * 11) % 200, np.full_like(x, seed * 13)]
    return np.stack(channels, axis=2).astype(np.uint8)


def save(path: Path, image: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def folder_of(place: Path, names: list[str], **size) -> Path:
    for seed, name in enumerate(names):
        save(place / name, picture(seed, **size))
    return place


def test_frames_come_in_order_with_name_size_and_content(tmp_path):
    sequence = sequence_from_folder(folder_of(tmp_path / "bear", ["00000.png", "00001.png"]))
    assert (sequence.name, sequence.size, len(sequence)) == ("bear", (24, 36), 2)
    assert sequence.frame_names == ["00000", "00001"]
    assert sequence.times is None
    frames = list(sequence)
    assert [(frame.index, frame.name, frame.time) for frame in frames] == [
        (0, "00000", None),
        (1, "00001", None),
    ]
    for seed, frame in enumerate(frames):
        assert frame.image.dtype == np.uint8
        np.testing.assert_array_equal(frame.image, picture(seed))
    np.testing.assert_array_equal(sequence.frame(1).image, picture(1))


def test_a_name_with_a_slash_is_kept(tmp_path):
    folder = folder_of(tmp_path / "car", ["0.png"])
    assert sequence_from_folder(folder, name="batch-2/car").name == "batch-2/car"


def test_order_is_natural(tmp_path):
    names = ["frame10.png", "Frame9.PNG", "frame2.png"]
    sequence = sequence_from_folder(folder_of(tmp_path, names))
    assert sequence.frame_names == ["frame2", "Frame9", "frame10"]
    sequence = sequence_from_folder(folder_of(tmp_path / "n", [f"{k}.bmp" for k in range(1, 13)]))
    assert sequence.frame_names == [str(k) for k in range(1, 13)]


@pytest.mark.parametrize("names", [["back", "front", "side"], ["2_back", "10_front", "x"]])
def test_names_that_are_no_series_are_taken_with_a_warning(tmp_path, caplog, names):
    folder_of(tmp_path, [f"{name}.jpg" for name in reversed(names)])
    with caplog.at_level(logging.WARNING):
        assert sequence_from_folder(tmp_path).frame_names == names
    assert f"in this order: {', '.join(f'{name}.jpg' for name in names)}" in caplog.text


FRAMES = [f"frame_{index:04d}.jpg" for index in range(4)]


@pytest.mark.parametrize(
    ("frames", "others"),
    [
        (FRAMES, ["first.png"]),
        (FRAMES, ["mask.png"]),
        (FRAMES, ["frame_0000_mask.png"]),
        (FRAMES, ["frame_0000.png"]),
        (FRAMES, ["frame_0004.png"]),
        (FRAMES, ["cover.jpg"]),
        (FRAMES, [name.replace(".jpg", "_mask.jpg") for name in FRAMES]),
        (["00000.png", "00001.png"], ["first.png"]),
        (["00000.png", "00001.png"], ["00000_mask.png", "00001_mask.png"]),
        (["00000.jpg"], ["mask.png"]),
        (["00000.tif", "00001.tif"], ["00000.jpg"]),
    ],
)
def test_a_picture_of_another_kind_is_never_taken_for_a_frame(tmp_path, frames, others):
    folder_of(tmp_path, [*frames, *others])
    with pytest.raises(InputError, match=others[0]) as caught:
        open_input(tmp_path)
    assert "--mask" in caught.value.remedy
    names = [Path(name).stem for name in frames]
    excluded = [tmp_path / name for name in others]
    assert open_input(tmp_path, exclude=excluded).frame_names == names
    assert open_input(tmp_path, exclude=excluded).files == [tmp_path / name for name in frames]


def test_a_mask_is_excluded_under_any_of_its_names(tmp_path, monkeypatch):
    folder_of(tmp_path / "clip", [*FRAMES, "first.png"])
    (tmp_path / "link").symlink_to(tmp_path / "clip" / "first.png")
    monkeypatch.chdir(tmp_path)
    for mask in ("link", "clip/../clip/first.png", "clip//first.png"):
        assert len(sequence_from_folder("clip", exclude=[mask, "absent.png"])) == 4
    sequence = sequence_from_folder("clip", annotations={1: "clip/first.png"})
    assert len(sequence) == 4 and list(sequence.annotations) == [1]


@pytest.mark.parametrize(
    "names", [["a.png", "b.png"], ["1.png", "2.png"], ["a.png"], ["mask1.png"]]
)
def test_images_beside_videos_are_not_the_clip(tmp_path, names):
    folder_of(tmp_path, names)
    for name in names:
        (tmp_path / name.replace("mask", "")).with_suffix(".mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"no videos with images.*--videos FOLDER"):
        open_input(tmp_path)


def test_a_video_beside_its_numbered_frames_is_no_matter(tmp_path):
    folder_of(tmp_path, FRAMES)
    (tmp_path / "original.mp4").write_bytes(b"")
    assert len(open_input(tmp_path)) == 4


def test_stray_files_are_no_frames(tmp_path):
    folder_of(tmp_path, ["00000.jpg", "00001.JPG"])
    for name in (".DS_Store", "._00000.jpg", "Thumbs.db", "notes.txt"):
        (tmp_path / name).write_bytes(b"stray")
    (tmp_path / "00002.jpg").mkdir()
    assert sequence_from_folder(tmp_path).frame_names == ["00000", "00001"]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "bmp"])
@pytest.mark.parametrize("size", [(24, 36), (23, 37), (1, 1)])
def test_every_format_and_odd_sizes_decode(tmp_path, suffix, size):
    options = {"quality": 95, "subsampling": 0} if suffix.startswith("jp") else {"quality": 95}
    save(tmp_path / f"a.{suffix}", picture(3, *size), **({} if suffix == "bmp" else options))
    sequence = sequence_from_folder(tmp_path)
    assert sequence.size == size
    difference = sequence.frame(0).image.astype(int) - picture(3, *size)
    assert np.abs(difference).mean() < (0.01 if suffix in ("png", "bmp") else 8)


def test_jpeg_decodes_as_pillow_decodes_it(tmp_path):
    path = save(tmp_path / "a.jpg", picture(1, 64, 96), quality=90)
    own = sequence_from_folder(tmp_path).frame(0).image.astype(int)
    with Image.open(path) as reference:
        assert np.abs(own - np.asarray(reference.convert("RGB"))).max() <= 4


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "I;16"])
def test_other_modes_become_rgb(tmp_path, mode):
    gray = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (8, 1))
    if mode == "I;16":
        Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "a.png")
    else:
        Image.fromarray(gray).convert(mode).save(tmp_path / "a.png")
    image = sequence_from_folder(tmp_path).frame(0).image
    np.testing.assert_array_equal(image, np.repeat(gray[..., None], 3, axis=2))


def test_cmyk_jpeg_has_its_colors(tmp_path):
    cmyk = Image.new("CMYK", (32, 16), (0, 255, 255, 0))  # red
    cmyk.save(tmp_path / "a.jpg", quality=95)
    image = sequence_from_folder(tmp_path).frame(0).image
    assert image[..., 0].min() > 240 and image[..., 1:].max() < 15


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    image = np.full((16, 32, 3), 40, np.uint8)
    image[:8, :16] = (220, 40, 40)  # upper left as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / f"a.{suffix}", image, exif=exif)
    sequence = sequence_from_folder(tmp_path)
    assert sequence.size == ((16, 32) if orientation < 5 else (32, 16))
    upright = sequence.frame(0).image
    assert upright.shape[:2] == sequence.size
    height, width = sequence.size
    # Where row 0 and column 0 of the stored image are shown: EXIF 2.3, tag 274.
    top, left = {
        1: (1, 1), 2: (1, 0), 3: (0, 0), 4: (0, 1), 5: (1, 1), 6: (1, 0), 7: (0, 0), 8: (0, 1)
    }[orientation]  # fmt: skip
    row = height // 4 if top else 3 * height // 4
    column = width // 4 if left else 3 * width // 4
    assert upright[row, column, 0] > 180
    assert (upright[..., 0] > 130).mean() == pytest.approx(0.25, abs=0.02)


def test_a_gap_names_what_is_missing(tmp_path):
    names = [f"{k:05d}.jpg" for k in (0, 1, 3, 4, 8, 9)]
    with pytest.raises(InputError, match="4 missing: 00002, 00005 to 00007") as caught:
        sequence_from_folder(folder_of(tmp_path, names))
    assert str(tmp_path) in str(caught.value) and caught.value.exit_status == 65


def test_equal_steps_and_free_names_have_no_gap(tmp_path):
    steps = folder_of(tmp_path / "a", ["00000.jpg", "00005.jpg", "00010.jpg"])
    assert len(sequence_from_folder(steps)) == 3
    free = folder_of(tmp_path / "b", ["shoe1.jpg", "shoe3.jpg", "shoe4.jpg"])
    assert len(sequence_from_folder(free)) == 3
    moments = folder_of(tmp_path / "c", ["1403636579.jpg", "1403636612.jpg", "1403636646.jpg"])
    assert len(sequence_from_folder(moments)) == 3


def test_two_files_of_one_name_are_an_error(tmp_path):
    with pytest.raises(InputError, match="2 like 00000.jpg, but also 00000.png"):
        sequence_from_folder(folder_of(tmp_path / "a", ["00000.jpg", "00000.png", "00001.jpg"]))
    with pytest.raises(InputError, match="name of its own"):
        sequence_from_folder(folder_of(tmp_path / "b", ["1.jpg", "01.jpg", "2.jpg"]))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_frame_is_named_when_decoded(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    save(tmp_path / f"00000.{suffix}", noise)
    path = save(tmp_path / f"00001.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=f"00001.{suffix}"):
        frames = iter(sequence_from_folder(tmp_path))
        assert next(frames).image.shape == (64, 64, 3)
        _ = next(frames).image


def test_a_jpeg_cut_and_filled_with_zeros_is_truncated(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / "00000.jpg", noise)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    with pytest.raises(InputError, match="truncated"):
        _ = sequence_from_folder(tmp_path).frame(0).image


def test_a_jpeg_with_bytes_after_its_end_is_complete(tmp_path):
    path = save(tmp_path / "00000.jpg", picture(2))
    whole = sequence_from_folder(tmp_path).frame(0).image
    path.write_bytes(path.read_bytes() + b"\0" * 40 + b"appended by a phone")
    tail = sequence_from_folder(tmp_path).frame(0).image
    assert np.abs(whole.astype(int) - tail).max() <= 4


@pytest.mark.parametrize("content", [b"", b"this is no image"])
def test_a_file_that_is_no_image_is_named_when_the_folder_is_opened(tmp_path, content):
    folder_of(tmp_path, ["00000.jpg", "00002.jpg"])
    (tmp_path / "00001.jpg").write_bytes(content)
    with pytest.raises(InputError, match="00001.jpg"):
        sequence_from_folder(tmp_path)


def test_mixed_sizes_are_an_error_with_both_sizes(tmp_path):
    folder_of(tmp_path, ["00000.png", "00001.png"])
    save(tmp_path / "00002.png", picture(2, 24, 40))
    with pytest.raises(InputError, match="40x24, but 00000.png is 36x24.*00002.png"):
        sequence_from_folder(tmp_path)


def test_a_frame_that_changes_its_size_later_is_an_error(tmp_path):
    sequence = sequence_from_folder(folder_of(tmp_path, ["00000.png", "00001.png"]))
    save(tmp_path / "00001.png", picture(2, 24, 40))
    with pytest.raises(InputError, match="00001.png"):
        _ = sequence.frame(1).image


def test_a_folder_without_images_lists_its_files(tmp_path):
    with pytest.raises(InputError, match="an empty folder"):
        sequence_from_folder(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="clip.mp4"):
        sequence_from_folder(tmp_path)


def test_frames_are_decoded_once_and_on_access(tmp_path):
    calls = []

    def decode() -> np.ndarray:
        calls.append(1)
        return np.zeros((2, 2, 3), np.uint8)

    frame = Frame(0, "00000", decode=decode)
    assert not calls
    assert frame.image is frame.image and len(calls) == 1
    with pytest.raises(ValueError):
        frame.image[0] = 1


def test_a_frame_outside_is_an_index_error(tmp_path):
    sequence = sequence_from_folder(folder_of(tmp_path, ["00000.png"]))
    for index in (-1, 1):
        with pytest.raises(IndexError):
            sequence.frame(index)


def test_masks_are_paired_by_name(tmp_path):
    folder = folder_of(tmp_path / "frames", ["00000.jpg", "00001.jpg", "00002.jpg"])
    mask = np.zeros((24, 36), np.uint8)
    mask[4:10, 5:9] = 1
    write_mask(tmp_path / "masks" / "00001.png", mask)
    save(tmp_path / "masks" / "00001.jpg", mask * 255)
    write_mask(tmp_path / "masks" / "00007.png", mask)
    (tmp_path / "masks" / ".DS_Store").write_bytes(b"stray")
    sequence = sequence_from_folder(folder, annotations=tmp_path / "masks")
    assert dict(sequence.annotations) == {1: tmp_path / "masks" / "00001.png"}
    assert sequence.first_annotated == 1
    np.testing.assert_array_equal(sequence.annotation(1), mask)
    with pytest.raises(InputError, match="Frame 0 must have a mask"):
        sequence.annotation(0)


def test_colors_mean_one_object_in_all_masks_of_a_sequence(tmp_path):
    folder = folder_of(tmp_path / "frames", ["00000.jpg", "00001.jpg"])
    colors = np.zeros((24, 36, 3), np.uint8)
    colors[2:20, 2:10], colors[2:20, 20:30] = (0, 0, 250), (0, 250, 0)
    save(tmp_path / "masks" / "00000.png", colors)
    colors[2:20, 2:10] = 0  # the object of the smaller color leaves
    save(tmp_path / "masks" / "00001.png", colors)
    sequence = sequence_from_folder(folder, annotations=tmp_path / "masks")
    assert [np.unique(sequence.annotation(index)).tolist() for index in (1, 0)] == [
        [0, 2],
        [0, 1, 2],
    ]
    alone = sequence.with_annotations({1: tmp_path / "masks" / "00001.png"})
    assert np.unique(alone.annotation(1)).tolist() == [0, 1]


def test_masks_by_index(tmp_path):
    folder = folder_of(tmp_path / "frames", ["00000.jpg", "00001.jpg"])
    mask = np.eye(24, 36, dtype=np.uint8)
    write_mask(tmp_path / "any.png", mask)
    bare = sequence_from_folder(folder)
    assert not bare.annotations
    with pytest.raises(InputError, match="must have a mask"):
        _ = bare.first_annotated
    sequence = sequence_from_folder(folder, annotations={0: tmp_path / "any.png"})
    assert sequence.first_annotated == 0
    np.testing.assert_array_equal(sequence.annotation(0), mask)
    with pytest.raises(UsageError, match="a mask for frame 5"):
        sequence_from_folder(folder, annotations={5: tmp_path / "any.png"})


def test_masks_without_frames_are_an_error(tmp_path):
    folder = folder_of(tmp_path / "frames", ["00000.jpg"])
    write_mask(tmp_path / "masks" / "mask.png", np.zeros((24, 36), np.uint8))
    with pytest.raises(InputError, match="named as their frames.*mask"):
        sequence_from_folder(folder, annotations=tmp_path / "masks")
    with pytest.raises(InputError, match="must exist"):
        sequence_from_folder(folder, annotations=tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "jp2"])
def test_an_image_is_a_clip_of_one_frame_and_says_so(tmp_path, caplog, suffix):
    path = save(tmp_path / f"shoe.{suffix}", picture(1))
    with caplog.at_level(logging.INFO):
        sequence = open_input(path, annotations={0: np.eye(24, 36, dtype=np.uint8)})
    assert (sequence.name, sequence.frame_names, sequence.size) == ("shoe", ["shoe"], (24, 36))
    assert sequence.frame(0).image.shape == (24, 36, 3) and sequence.first_annotated == 0
    assert "clip of one frame; give its folder" in caplog.text


def test_open_input_distinguishes_folders_videos_and_other_files(tmp_path):
    folder = folder_of(tmp_path / "frames", ["00000.jpg"])
    assert open_input(folder).name == "frames"
    with pytest.raises(InputError, match="no such file"):
        open_input(tmp_path / "nothing")
    assert open_input(folder / "00000.jpg").files == [folder / "00000.jpg"]
    (tmp_path / "notes.txt").write_text("no video\n" * 50)
    with pytest.raises(InputError, match="must be a video"):
        open_input(tmp_path / "notes.txt")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "~nobody_of_this_name/clip.mp4", "\ud800"])
def test_names_that_cannot_be_are_no_such_file(tmp_path, name):
    for path in (name, tmp_path / name):
        with pytest.raises(InputError, match="no such file") as caught:
            open_input(path)
        assert str(caught.value).encode()


def test_davis_folder_reads_as_stored(shared_data):
    root = shared_data / "davis16"
    name = sorted(path.name for path in (root / "JPEGImages/480p").iterdir())[0]
    sequence = sequence_from_folder(
        root / "JPEGImages/480p" / name, annotations=root / "Annotations/480p" / name
    )
    assert sorted(sequence.annotations) == list(range(len(sequence)))
    assert sequence.frame(0).image.shape[:2] == sequence.size
    assert set(np.unique(sequence.annotation(0))) <= {0, 1}
