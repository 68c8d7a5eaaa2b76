"""Sequences of frames in memory: lists and one-pass streams, their masks and their checks."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.array_sequence import ArraySequence, StreamSequence
from deeplab_gygo.io.masks import write_mask

SIZE = (24, 36)


def frames(count: int = 3) -> list[np.ndarray]:
    return [np.full((*SIZE, 3), 10 * index, np.uint8) for index in range(count)]


def mask() -> np.ndarray:
    ids = np.zeros(SIZE, np.uint8)
    ids[4:9, 5:20] = 2
    return ids


@pytest.mark.parametrize("kind", [ArraySequence, StreamSequence])
def test_frames_have_index_name_and_content(kind):
    sequence = kind(frames(), name="bag")
    assert (sequence.name, sequence.size) == ("bag", SIZE)
    found = [(frame.index, frame.name, int(frame.image[0, 0, 0])) for frame in sequence]
    assert found == [(0, "00000", 0), (1, "00001", 10), (2, "00002", 20)]


def test_array_sequence_has_random_access_and_repeats():
    sequence = ArraySequence(np.stack(frames()))
    assert len(sequence) == 3 and sequence.frame(2).image[0, 0, 0] == 20
    assert len(list(sequence)) == len(list(sequence)) == 3
    with pytest.raises(IndexError):
        sequence.frame(3)


def test_frames_of_the_caller_stay_writable_and_are_not_copied():
    given = frames()
    image = ArraySequence(given).frame(0).image
    assert not image.flags.writeable and given[0].flags.writeable
    assert np.shares_memory(image, given[0])


@pytest.mark.parametrize("kind", [ArraySequence, StreamSequence])
def test_masks_are_arrays_or_files(kind, tmp_path):
    write_mask(tmp_path / "mask.png", mask())
    binary = np.where(mask() > 0, 255, 0).astype(np.uint8)
    given = {2: mask(), 0: tmp_path / "mask.png", 1: binary}
    sequence = kind(frames(), annotations=given)
    assert sequence.first_annotated == 0 and list(sequence.annotations) == [0, 1, 2]
    np.testing.assert_array_equal(sequence.annotation(0), mask())
    np.testing.assert_array_equal(sequence.annotation(1), mask() > 0)
    np.testing.assert_array_equal(sequence.annotation(2), mask())


@pytest.mark.parametrize("kind", [ArraySequence, StreamSequence])
@pytest.mark.parametrize(
    ("bad", "met"),
    [
        (np.zeros((*SIZE, 3), np.float32), "float32"),
        (np.zeros(SIZE, np.uint8), r"\[24, 36\]"),
        (np.zeros((*SIZE, 4), np.uint8), r"\[24, 36, 4\]"),
        (np.zeros((20, 36, 3), np.uint8), "36x20, the first is 36x24"),
        ("frame.png", "str"),
    ],
)
def test_a_frame_of_another_kind_is_an_input_error(kind, bad, met):
    with pytest.raises(InputError, match=rf"{met}.*\(frame 2 of bag\)"):
        for _ in kind([*frames(2), bad], name="bag"):
            pass


@pytest.mark.parametrize("kind", [ArraySequence, StreamSequence])
def test_no_frames_is_an_input_error(kind):
    with pytest.raises(InputError, match="must have frames"):
        kind([])


def test_a_mask_that_belongs_to_no_frame_is_refused():
    with pytest.raises(UsageError, match="0 to 2"):
        ArraySequence(frames(), annotations={3: mask()})
    with pytest.raises(UsageError, match="0 to 2"):
        StreamSequence(frames(), annotations={3: mask()}, length=3)


def test_a_mask_of_another_size_or_dtype_is_an_input_error():
    with pytest.raises(InputError, match="size of the frame"):
        ArraySequence(frames(), annotations={0: mask()[:, :20]}).annotation(0)
    with pytest.raises(InputError, match="int64"):
        ArraySequence(frames(), annotations={0: mask().astype(np.int64)}).annotation(0)


def test_a_stream_has_a_length_only_if_given():
    with pytest.raises(TypeError, match="unknown"):
        len(StreamSequence(iter(frames())))
    assert len(StreamSequence(iter(frames()), length=3)) == 3


def test_a_stream_is_iterated_once_and_in_order():
    sequence = StreamSequence(iter(frames()))
    assert len(list(sequence)) == 3
    with pytest.raises(UsageError, match="iterated once"):
        iter(sequence)
    with pytest.raises(UsageError, match="random access"):
        sequence.frame(0)


def test_a_stream_reads_no_frame_ahead_and_keeps_none():
    references = []

    def generate():
        for _ in range(4):
            image = np.zeros((*SIZE, 3), np.uint8)
            references.append(weakref.ref(image))
            yield image

    stream = iter(StreamSequence(generate()))
    for count in range(1, 4):
        frame = next(stream)
        assert len(references) == count
        assert frame.image is not None
    del frame
    gc.collect()
    assert references[0]() is None and references[1]() is None
