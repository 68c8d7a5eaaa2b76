"""Clips with a twin behind the object, or a pole before it, and what following makes of them."""

import json

import cv2
import numpy as np
from PIL import Image

SIZE, SIDE = (120, 200), 40


def _davis(root, frames: int = 6):
    """Writes a light square with grain that moves over dark ground, which moves the other way."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.uniform(0, 255, (*SIZE, 3)).astype(np.float32), (0, 0), 2)
    ground = np.clip((ground - 127) * 3 + 60, 0, 120).astype(np.uint8)
    patch = cv2.GaussianBlur(rng.uniform(0, 255, (SIDE, SIDE)).astype(np.float32), (0, 0), 2)
    patch = np.clip((patch - 127) + 230, 205, 255)[..., None]
    for index in range(frames):
        image, mask = np.roll(ground, -2 * index, axis=1), np.zeros(SIZE, np.uint8)
        mask[40 : 40 + SIDE, 50 + 8 * index : 50 + SIDE + 8 * index] = 255
        image[40 : 40 + SIDE, 50 + 8 * index : 50 + SIDE + 8 * index] = patch
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
        seen = np.asarray(Image.open(tmp_path / f"twins/Twins/480p/box/{index:05d}.png")) > 0
        # The file's edges are blurred by a pixel, and the object's mask is not the twin's.
        assert abs(np.count_nonzero(seen) - np.count_nonzero(extra)) < 4 * side


def test_a_pole_stands_on_the_ground_and_hides_the_object(tool, tmp_path, monkeypatch):
    _davis(tmp_path / "davis")
    script = tool("make_poles")
    arguments = ["--root", str(tmp_path / "davis"), "--sequences", "box", "--out"]
    monkeypatch.setattr("sys.argv", ["make_poles", *arguments, str(tmp_path / "poles")])
    script.main()
    thick = script.WIDTH * SIDE
    for index in range(6):
        before, after = (
            np.asarray(Image.open(tmp_path / f"{kind}/Annotations/480p/box/{index:05d}.png")) > 0
            for kind in ("davis", "poles")
        )
        image = np.asarray(Image.open(tmp_path / f"poles/JPEGImages/480p/box/{index:05d}.jpg"))
        hidden = before & ~after
        # It is at the object's middle in the middle frame, and moves with the ground from there.
        middle = 70 + 8 * 3 - 2 * (index - 3)
        if before[60, round(middle - thick / 2) : round(middle + thick / 2)].all():
            assert abs(np.count_nonzero(hidden[60]) - thick) < 3
            assert abs(np.nonzero(hidden[60])[0].mean() - middle) < 3
        assert not (after & ~before).any()
        assert image[after].mean() > 190
        assert not hidden.any() or image[hidden].mean() < 190


def test_following_loses_nothing_of_the_object_and_drops_its_twin(tool, tmp_path, monkeypatch):
    _davis(tmp_path / "davis", frames=14)
    for name, out in (("make_twins", "twins"), ("measure_tracking", "found.json")):
        script, root = tool(name), "davis" if name == "make_twins" else "twins"
        arguments = ["--root", tmp_path / root, "--sequences", "box", "--out", tmp_path / out]
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        script.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["sequences"]["box"]["lost"] < 0.02
    assert found["mean"]["dropped"] > 0.5 * found["mean"]["seen"] > 0.1
