"""Sound is kept in the videos that are made of a video."""

import numpy as np
import pytest
from sound_clips import RATE, heard, sound_packets, tone, write_with_sound

from deeplab_gygo.io.sound import Sound
from deeplab_gygo.io.video_writer import VideoWriter

TIMES = [k / 25 for k in range(50)]


def images(count=50):
    return [np.full((48, 64, 3), 5 * k, np.uint8) for k in range(count)]


def remade(source, path, start=0.0):
    first = round(start * 25)
    with Sound(source, start) as sound:
        times = [time - start for time in TIMES[first:]]
        with VideoWriter(path, (48, 64), times=times, sound=sound) as writer:
            for image in images()[first:]:
                writer.write(image)
    return path


@pytest.mark.parametrize(
    ("codec", "suffix"), [("aac", ".mp4"), ("aac", ".mov"), ("libopus", ".webm")]
)
def test_packets_are_copied_where_the_container_takes_the_codec(tmp_path, codec, suffix):
    kind = ".webm" if codec == "libopus" else ".mp4"
    source = write_with_sound(tmp_path / f"in{kind}", images(), TIMES, codec=codec)
    made = remade(source, tmp_path / f"out{suffix}")
    assert sound_packets(made) == sound_packets(source)
    np.testing.assert_array_equal(heard(made), heard(source))


@pytest.mark.parametrize("start", [0.0, 0.4])
@pytest.mark.parametrize(
    ("codec", "kind", "suffix"),
    [
        ("aac", ".mp4", ".mp4"),
        ("aac", ".mp4", ".webm"),
        ("libopus", ".webm", ".mov"),
        ("pcm_s16le", ".mov", ".mov"),
        ("pcm_s16le", ".mov", ".mp4"),
        ("libmp3lame", ".mkv", ".mkv"),
    ],
)
def test_the_sound_of_a_moment_stays_with_its_picture(tmp_path, codec, kind, suffix, start):
    source = write_with_sound(tmp_path / f"in{kind}", images(), TIMES, codec=codec)
    found = heard(remade(source, tmp_path / f"out{suffix}", start))
    truth = tone(2)[round(start * RATE) :]
    assert len(found) == pytest.approx(len(truth), abs=0.05 * RATE)
    part = found[20000:24000] - found[20000:24000].mean()
    shifts = range(-1200, 1201)
    likeness = [part @ truth[20000 + shift : 24000 + shift] for shift in shifts]
    assert abs(shifts[int(np.argmax(likeness))]) <= 0.003 * RATE


def test_a_source_without_sound_gives_a_video_without_it(tmp_path):
    silent = tmp_path / "in.mp4"
    with VideoWriter(silent, (48, 64), times=TIMES) as writer:
        for image in images():
            writer.write(image)
    for source in (silent, tmp_path / "absent.mp4", tmp_path):
        with pytest.raises(IndexError):
            sound_packets(remade(source, tmp_path / "out.mp4"))


def test_files_that_were_joined_keep_the_sound_of_the_first(tmp_path):
    source = write_with_sound(tmp_path / "in.ts", images(), TIMES)
    alone = remade(source, tmp_path / "alone.mp4", 0.0)
    source.write_bytes(source.read_bytes() * 2)
    joined = remade(source, tmp_path / "joined.mp4", 0.0)
    assert sound_packets(joined)[: len(sound_packets(alone)) - 1] == sound_packets(alone)[:-1]


def test_damaged_sound_ends_with_a_warning(tmp_path, caplog):
    source = write_with_sound(tmp_path / "in.mov", images(), TIMES, codec="pcm_s16le")
    with Sound(source) as sound:
        sound._packets = iter(())

        def broken():
            import av

            raise av.InvalidDataError(1, "damaged")
            yield

        with VideoWriter(tmp_path / "out.mp4", (48, 64), times=TIMES, sound=sound) as writer:
            sound._packets = broken()
            for image in images():
                writer.write(image)
    assert caplog.text.count("ends where it is damaged") == 1
