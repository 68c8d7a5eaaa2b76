"""Natural order: decimals, signs, versions and upper case, decided from all names of a folder."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.listing import natural_sorted


def ordered(names: list[str]) -> list[str]:
    shuffled = [Path("frames", f"{name}.png") for name in names]
    random.Random(0).shuffle(shuffled)
    return [path.stem for path in natural_sorted(shuffled)]


@pytest.mark.parametrize(
    "names",
    [
        "frame_0 frame_0.5 frame_1 frame_1.5 frame_2 frame_10",
        "t0.0s t0.04s t0.1s t0.12s t1.25s t1.3s t10s",
        "0.0 0.5 1.0 1.25 10.0",
        "1.25 1.5 1.75",
        "0.9 0.99 0.999",
        "33.33 66.67 100",
        "1.8 1.9 1.10 1.11",
        "t_0.9 t_0.10 t_0.11 t_1.2",
        "v1.2.9 v1.2.10",
        "shot1.0001 shot1.0002 shot1.0010",
        "x.1 x.9 x.10",
        "frame_-10 frame_-2 frame_-1 frame_0 frame_1 frame_10",
        "frame-2 frame-1 frame0 frame1",
        "a-1 a0 a+1",
        "-0.5 0 0.25 1",
        "shot-01_-1 shot-01_0 shot-01_1",
        "clip-1 clip-2 clip-10",
        "2024-01-02 2024-01-10 2024-02-01",
        "b-roll-2 b-roll-10",
        "IMG_2 img_3 Img_9 img_10",
        "Frame_1 frame_2 FRAME_3",
    ],
)
def test_names_are_ordered_as_they_are_meant(names):
    assert ordered(names.split()) == names.split()


@pytest.mark.parametrize("names", ["f_-1 f_-2 f_-3", "-1 -2", "1.05 1.10 1.5", "1.9 1.11 1.12"])
def test_names_with_two_meanings_are_refused(names):
    with pytest.raises(InputError, match=r"one order; met: .* or .* first.*Rename the frames"):
        ordered(names.split())


def test_names_whose_meanings_have_one_order_are_not_refused():
    assert ordered(["f_-1"]) == ["f_-1"]
    assert ordered(["1.11", "2.9"]) == ["1.11", "2.9"]
