"""Clips with a twin behind the object."""

import cv2
import numpy as np
from PIL import Image

SIZE, SIDE = (120, 200), 40


def _davis(root, frames: int = 6):
    """A light square that moves over dark ground, which moves the other way; returns the ground."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.uniform(0, 255, (*SIZE, 3)).astype(np.float32), (0, 0), 2)
    ground = np.clip((ground - 127) * 3 + 60, 0, 120).astype(np.uint8)
    for index in range(frames):
        image, mask = np.roll(ground, -2 * index, axis=1), np.zeros(SIZE, np.uint8)
        mask[40 : 40 + SIDE, 50 + 8 * index : 50 + SIDE + 8 * index] = 255
        image[mask > 0] = 230
        for kind, array, suffix in (("JPEGImages", image, "jpg"), ("Annotations", mask, "png")):
            path = root / kind / "480p" / "box" / f"{index:05d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path, **({"quality": 95} if suffix == "jpg" else {}))
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text("box\n")


def test_a_twin_comes_out_behind_and_stays_with_the_ground(tool, tmp_path, monkeypatch):
    _davis(tmp_path / "davis")
    script = tool("make_twins")
    arguments = ["--root", str(tmp_path / "davis"), "--sequences", "box", "--out"]
    monkeypatch.setattr("sys.argv", ["make_twins", *arguments, str(tmp_path / "twins")])
    script.main()
    assert (tmp_path / "twins" / "ImageSets" / "train.txt").read_text() == "box\n"

    def light(folder, index):
        path = folder / "JPEGImages" / "480p" / "box" / f"{index:05d}.jpg"
        return np.asarray(Image.open(path)).min(axis=-1) > 190

    left, side = 70 - SIDE * script.SMALLER / 2, SIDE * script.SMALLER
    for index in range(6):
        before, after = (light(tmp_path / name, index) for name in ("davis", "twins"))
        extra = after & ~before
        # Of the twin is seen what the object has left behind, at its place on the ground.
        shown = max(0, min(side, (50 + 8 * index) - (left - 2 * index)))
        assert abs(np.count_nonzero(extra) / side - shown) < 5
        if shown > 5:
            start = left - 2 * index
            assert extra[:, : round(start) - 2].sum() == 0
            assert abs(np.nonzero(extra.any(axis=0))[0][0] - start) < 3
