"""J and F of the shipped parent on two clips, pinned in all three modes.

A change of the algorithm, of the weights or of a default moves these numbers. After an intended
one, `python tests/test_end_to_end.py` writes them anew.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import deeplab_gygo
from deeplab_gygo.cli.demo import demo_clip
from deeplab_gygo.evaluation import boundary_measure, jaccard
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.video import open_input

GOLDEN = Path(__file__).parent / "golden" / "end_to_end.json"
MODES = {
    "zero-shot": {"preset": "fast", "mode": "zero-shot"},
    "one-shot": {"mode": "one-shot"},
    "fine-tune": {"preset": "fast", "mode": "fine-tune"},
}
STEP = 3  # Every third frame of the demo clip: its motion is slow.


def _synthetic() -> tuple[ArraySequence, list[np.ndarray]]:
    """A textured ellipse that moves, turns and grows over a textured background."""
    rng = np.random.default_rng(4)
    size = (160, 240)
    noise = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3)).astype(np.uint8)
    background = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC) // 2 + 90
    texture = cv2.resize(noise[::-1], size[::-1], interpolation=cv2.INTER_LINEAR) // 3
    frames, masks = [], []
    for index in range(6):
        mask = np.zeros(size, np.uint8)
        center, axes = (80 + 12 * index, 80 + 3 * index), (44 + 2 * index, 26)
        cv2.ellipse(mask, center, axes, 10 * index, 0, 360, 1, -1)
        moved = np.roll(texture, (3 * index, 12 * index), (0, 1)) + np.uint8([20, 10, 120])
        frames.append(np.where(mask[..., None] > 0, moved, background).astype(np.uint8))
        masks.append(mask)
    return ArraySequence(frames), masks


def _demo() -> tuple[ArraySequence, list[np.ndarray]]:
    clip = demo_clip()
    frames = [frame.image for frame in open_input(clip / "frames")][::STEP]
    files = sorted((clip / "masks").glob("*.png"))[::STEP]
    return ArraySequence(frames), [deeplab_gygo.read_mask(path) for path in files]


CLIPS = {"demo": _demo, "synthetic": _synthetic}


def _measure(model: deeplab_gygo.Model, clip: str, mode: str) -> dict[str, float]:
    sequence, masks = CLIPS[clip]()
    first = None if mode == "zero-shot" else masks[0]
    found = [p.mask for p in model.segment(sequence, first, **MODES[mode])]
    pairs = list(zip(found, masks, strict=True))[1:]
    return {
        "J": round(float(np.mean([jaccard(mask, truth) for mask, truth in pairs])), 4),
        "F": round(float(np.mean([boundary_measure(mask, truth) for mask, truth in pairs])), 4),
    }


@pytest.fixture(scope="module")
def model() -> deeplab_gygo.Model:
    return deeplab_gygo.load(precision="float32")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("clip", CLIPS)
def test_the_shipped_parent_reaches_what_it_reached(model, clip, mode):
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[clip][mode]
    assert _measure(model, clip, mode) == pytest.approx(expected, abs=0.002)


def _main() -> None:
    model = deeplab_gygo.load(precision="float32")
    found = {c: {mode: _measure(model, c, mode) for mode in MODES} for c in CLIPS}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(GOLDEN.read_text(encoding="utf-8"))


if __name__ == "__main__":
    _main()
