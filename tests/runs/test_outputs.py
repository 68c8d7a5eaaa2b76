"""Every kind of result of a clip: what is written is what was predicted, and memory is flat."""

from __future__ import annotations

import gc
import weakref
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from sound_clips import frame_times, heard, sound_packets, write_with_sound

from deeplab_gygo.errors import StorageError
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.video import open_video
from deeplab_gygo.runs.clip import Clip
from deeplab_gygo.runs.output_kinds import OUTPUTS, OutputOptions
from deeplab_gygo.runs.outputs import result_writers
from deeplab_gygo.runs.result_files import check_written, places_of_results

ALL = tuple(kind for kind in OUTPUTS if kind != "report")  # which is made of a record
SIZE = (63, 95)
COUNT = 14
TIMES = [round(0.5 + k / 25 + 0.011 * (k % 3), 3) for k in range(COUNT)]
VIDEOS = {"overlay": "overlay.mp4", "webm": "cutout.webm", "prores": "cutout.mov",
          "background": "composite.mp4", "matte": "matte.mp4"}  # fmt: skip


def probability(index, size=SIZE, radius=14):
    levels = np.zeros(size, np.float32)
    cv2.circle(levels, (25 + 3 * index, size[0] // 2), radius, 1, -1)
    return cv2.GaussianBlur(levels, (0, 0), 1)


def picture(index, size=SIZE):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([rows * 3, columns * 2, np.full(size, 10 * index)], -1).astype(np.uint8)


def prediction(frame, levels=None):
    levels = probability(frame.index) if levels is None else levels
    best = levels if levels.ndim == 2 else levels.max(axis=0)
    return Prediction(frame.index, frame.name, levels, (best > 0.5).astype(np.uint8), 0.0)


def write(folder, clip, outputs, options=None, levels=None, first=0):
    folder.mkdir(exist_ok=True)
    options = options or OutputOptions()
    names = []
    with result_writers(outputs, folder, clip, options) as writer:
        for frame in clip.sequence:
            if frame.index >= first:
                writer(frame, prediction(frame, levels))
                names.append(frame.name)
    check_written(folder, outputs, names, clip.object_ids, clip=clip.sequence.name, options=options)
    return folder


def planes(path, index):
    """Decodes the alpha of a transparent video, 0..255 as float."""
    decoder = av.CodecContext.create("libvpx-vp9", "r") if path.suffix == ".webm" else None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [
            f for p in container.demux(stream) for f in (decoder or p).decode(*[p][: bool(decoder)])
        ]
    for frame in frames:
        plane, bits = frame.planes[index], frame.format.components[index].bits
        kind = np.uint8 if bits == 8 else np.uint16
        values = np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width]
        yield values * (255 / (2**bits - 1))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "clip.mp4"
    even = [np.pad(picture(k), ((0, 1), (0, 1), (0, 0)), mode="edge") for k in range(COUNT)]
    times = [time - TIMES[0] for time in TIMES]
    return write_with_sound(path, even, times, pixel_aspect=Fraction(4, 3))


@pytest.fixture(scope="module")
def in_memory():
    return Clip(ArraySequence([picture(k) for k in range(COUNT)], name="clip"))


@pytest.fixture(scope="module")
def result(source, tmp_path_factory):
    """All kinds of a video with sound, of 64x96 pixels that are wider than high."""
    clip = Clip(open_video(source))
    size = clip.sequence.size
    folder = tmp_path_factory.mktemp("result")
    options = OutputOptions(background="white", spin=5)
    with result_writers(ALL, folder, clip, options) as writer:
        for frame in clip.sequence:
            writer(frame, prediction(frame, probability(frame.index, size)))
    names = clip.sequence.frame_names
    check_written(folder, ALL, names, [1], clip="clip", options=options)
    assert places_of_results(folder) == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    }
    return folder


@pytest.mark.parametrize("kind", VIDEOS)
def test_videos_have_the_times_and_the_sound_of_their_source(source, result, kind):
    path = result / VIDEOS[kind]
    assert frame_times(path) == pytest.approx(frame_times(source), abs=1e-4)
    if kind == "webm":  # coded anew, as Opus
        assert len(heard(path)) == pytest.approx(len(heard(source)), abs=2000)
    else:
        assert sound_packets(path) == sound_packets(source)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        width = stream.codec_context.width * (stream.sample_aspect_ratio or 1)
        assert (stream.codec_context.height, width) == (64, 128)


@pytest.mark.parametrize("name", ["cutout.webm", "cutout.mov"])
@pytest.mark.parametrize("size", [SIZE, (64, 96)])
def test_alpha_survives_the_transparent_videos(tmp_path, name, size):
    images = [picture(k, size) for k in range(COUNT)]
    clip = Clip(ArraySequence(images, name="clip"))
    with result_writers(("webm", "prores"), tmp_path, clip) as writer:
        for frame in clip.sequence:
            writer(frame, prediction(frame, probability(frame.index, size)))
    found = list(planes(tmp_path / name, 3))
    assert len(found) == COUNT
    for index, alpha in enumerate(found):
        truth = np.rint(probability(index, size) * 255)
        assert np.abs(alpha[: size[0], : size[1]] - truth).max() <= 2
        assert not alpha[size[0] :].any() and not alpha[:, size[1] :].any()


def test_colors_of_the_transparent_videos(tmp_path, in_memory):
    write(tmp_path, in_memory, ("webm", "prores"))
    for name, limit in (("cutout.webm", 14), ("cutout.mov", 3)):
        with av.open(str(tmp_path / name)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for index, frame in enumerate(frames):
            inside = probability(index) > 0.999
            error = np.abs(frame[: SIZE[0], : SIZE[1]][inside].astype(int) - picture(index)[inside])
            assert error.mean() < limit


def test_pictures_follow_from_8_bits_of_the_probability(tmp_path, in_memory):
    outputs = ("cutout", "webp", "crop", "spin", "gif", "webp-animation", "soft", "matte")
    first = write(tmp_path / "a", in_memory, outputs, OutputOptions(smooth=True))
    (tmp_path / "b").mkdir()
    with result_writers(outputs, tmp_path / "b", in_memory, OutputOptions(smooth=True)) as writer:
        for frame in in_memory.sequence:
            levels = np.float32(np.rint(probability(frame.index) * 255)) / 255
            writer(frame, prediction(frame, levels))
    for path in sorted(p for p in first.rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(first)).read_bytes(), path


@pytest.mark.parametrize("kind", ["cutout", "webp"])
def test_sequences_of_pictures_hold_alpha_exactly(tmp_path, in_memory, kind):
    write(tmp_path, in_memory, (kind,))
    folder = tmp_path / {"cutout": "cutouts", "webp": "webp"}[kind]
    for index, path in enumerate(sorted(folder.iterdir())):
        stored = np.array(Image.open(path))
        np.testing.assert_array_equal(stored[..., 3], np.rint(probability(index) * 255))
        inside = probability(index) > 0.999
        assert np.abs(stored[inside][:, :3].astype(int) - picture(index)[inside]).mean() < 4


def test_a_matte_is_alpha_in_gray(tmp_path, in_memory):
    write(tmp_path, in_memory, ("matte",))
    with av.open(str(tmp_path / "matte.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for index, frame in enumerate(frames):
        truth = np.rint(probability(index) * 255)
        assert np.abs(frame[: SIZE[0], : SIZE[1], 0] - truth).mean() < 2
        assert np.ptp(frame.astype(int), axis=-1).max() <= 4


def test_backgrounds_are_colors_or_a_picture_that_covers(tmp_path, in_memory):
    Image.new("RGB", (30, 90), (200, 40, 120)).save(tmp_path / "b.png")
    backgrounds = {"green": (0, 255, 0), "#0a6432": (10, 100, 50), "white": (255, 255, 255)}
    for name, color in {**backgrounds, str(tmp_path / "b.png"): (200, 40, 120)}.items():
        folder = write(tmp_path / "out", in_memory, ("background",), OutputOptions(background=name))
        with av.open(str(folder / "composite.mp4")) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for index, frame in enumerate(frames):
            outside = cv2.dilate(probability(index), np.ones((25, 25))) == 0
            frame = frame[: SIZE[0], : SIZE[1]]
            assert np.abs(frame[outside].astype(int) - color).max() <= 6
            inside = probability(index) > 0.999
            assert np.abs(frame[inside].astype(int) - picture(index)[inside]).mean() < 6


def test_crops_are_square_steady_and_whole(tmp_path, in_memory):
    write(tmp_path, in_memory, ("crop",))
    crops = [np.array(Image.open(path)) for path in sorted((tmp_path / "crops").iterdir())]
    assert len(crops) == COUNT
    centers = []
    for index, crop in enumerate(crops):
        assert crop.shape == crops[0].shape and crop.shape[0] == crop.shape[1] < 40
        opaque, truth = crop[..., 3] > 127, probability(index) > 0.5
        assert opaque.sum() == truth.sum()
        assert not opaque[[0, -1]].any() and not opaque[:, [0, -1]].any()
        centers.append(np.argwhere(opaque).mean(axis=0))
    assert np.abs(np.array(centers) - crops[0].shape[0] / 2).max() < 4
    assert not (tmp_path / ".scratch").exists()


def test_crops_of_wide_pixels_show_the_shape(result):
    crop = np.array(Image.open(result / "crops" / "00005.png"))
    rows, columns = (np.flatnonzero((crop[..., 3] > 127).any(axis=axis)) for axis in (1, 0))
    assert np.ptp(columns) == pytest.approx(np.ptp(rows) * 4 / 3, abs=3)


def test_a_spin_is_evenly_spaced(tmp_path, in_memory):
    write(tmp_path, in_memory, ("spin", "crop"), OutputOptions(spin=4))
    names = sorted(path.name for path in (tmp_path / "spin").iterdir())
    assert names == ["01.png", "02.png", "03.png", "04.png"]
    for name, frame in zip(names, ("00000", "00003", "00007", "00010"), strict=True):
        crop = tmp_path / "crops" / f"{frame}.png"
        assert (tmp_path / "spin" / name).read_bytes() == crop.read_bytes()
    # Of fewer frames all are taken.
    write(tmp_path / "few", in_memory, ("spin",), OutputOptions(spin=100))
    assert len(list((tmp_path / "few" / "spin").iterdir())) == COUNT


def test_a_clip_from_a_later_frame_begins_there(tmp_path, source):
    clip = Clip(open_video(source))
    levels = probability(3, clip.sequence.size)
    write(tmp_path, clip, ("overlay", "webp-animation", "coco"), levels=levels, first=4)
    times = [time - (TIMES[4] - TIMES[0]) for time in frame_times(source)[4:]]
    assert frame_times(tmp_path / "overlay.mp4") == pytest.approx(times, abs=1e-4)
    assert len(heard(tmp_path / "overlay.mp4")) < len(heard(source))


def test_several_objects_are_cut_out_together(tmp_path, in_memory):
    levels = np.stack([probability(0), probability(12)])
    write(tmp_path, in_memory, ("cutout",), levels=levels)
    stored = np.array(Image.open(tmp_path / "cutouts" / "00000.png"))
    np.testing.assert_array_equal(stored[..., 3], np.rint(levels.max(axis=0) * 255))


def test_smoothing_steadies_alpha_that_trembles(tmp_path):
    rng = np.random.default_rng(0)
    still = [picture(0)] * 20
    clip = Clip(ArraySequence(still, name="clip"))
    alphas = {}
    for smooth in (False, True):
        rng = np.random.default_rng(0)
        folder = tmp_path / str(smooth)
        folder.mkdir()
        with result_writers(("cutout",), folder, clip, OutputOptions(smooth=smooth)) as writer:
            for frame in clip.sequence:
                noise = 0.2 * rng.standard_normal(SIZE).astype(np.float32)
                levels = np.clip(probability(0) + noise, 0, 1)
                writer(frame, prediction(frame, levels))
        paths = sorted((folder / "cutouts").iterdir())
        assert len(paths) == 20
        alphas[smooth] = np.stack([np.array(Image.open(path))[..., 3] for path in paths])
    trembling = {
        key: np.abs(np.diff(value.astype(int), axis=0)).mean() for key, value in alphas.items()
    }
    assert trembling[True] < 0.5 * trembling[False]


@pytest.mark.parametrize("smooth", [False, True])
def test_frames_are_not_kept(tmp_path, smooth):
    outputs = ALL
    made, counts = [], []

    class Watched(np.ndarray):
        pass

    clip = Clip(ArraySequence([picture(k) for k in range(40)], name="clip"))
    tmp_path.joinpath("out").mkdir()
    options = OutputOptions(smooth=smooth)
    with result_writers(outputs, tmp_path / "out", clip, options) as writer:
        for frame in clip.sequence:
            levels = probability(frame.index % 15).view(Watched)
            made.append(weakref.ref(levels))
            writer(frame, prediction(frame, levels))
            del levels
            gc.collect(0)
            counts.append(sum(array() is not None for array in made))
    assert max(counts) < 25  # those that wait for their writers
    gc.collect()
    assert sum(array() is not None for array in made) <= 1


def test_a_failure_leaves_nothing_behind(tmp_path, in_memory):
    (tmp_path / "cutout.mov").mkdir()
    with pytest.raises(StorageError):
        write(tmp_path, in_memory, ALL)
    assert not (tmp_path / ".scratch").exists()
    assert not (tmp_path / "cutout.webm").exists()


def test_stills_are_a_clip(tmp_path):
    clip = Clip(ArraySequence([picture(0)], name="photo"))
    write(tmp_path, clip, ALL)
    assert frame_times(tmp_path / "cutout.webm") == [0]
    assert Image.open(tmp_path / "cutout.gif").size == SIZE[::-1]


def test_a_folder_of_an_aborted_run_gets_the_files_of_an_undisturbed_one(tmp_path, in_memory):
    options = OutputOptions(smooth=True, spin=5)
    whole = write(tmp_path / "whole", in_memory, ALL, options)
    (tmp_path / "again").mkdir()
    with pytest.raises(KeyError):
        with result_writers(ALL, tmp_path / "again", in_memory, options) as writer:
            for frame in in_memory.sequence:
                writer(frame, prediction(frame))
                if frame.index == 8:
                    raise KeyError
    write(tmp_path / "again", in_memory, ALL, options)
    for path in sorted(p for p in whole.rglob("*") if p.is_file()):
        again = tmp_path / "again" / path.relative_to(whole)
        assert path.read_bytes() == again.read_bytes(), path
