"""Stand-in clips: read by the dataset reader, hard as asked, and the same for the same seed."""

import cv2
import numpy as np
import pytest
from product_renderer.clip import render_scene
from product_renderer.table import TableEvents, build_table_scene
from standins.limbs import sample_cut, swinging

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.synthesis.sprites import make_sprite

FRAMES = 9
SIZE = (96, 160)
TIMES = np.arange(FRAMES) / 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photos of ellipses and of noise, in the folders of ECSSD and backgrounds."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("ecssd/images", "ecssd/masks", "backgrounds"):
        (folder / name).mkdir(parents=True)
    for number in range(4):
        mask = np.zeros((150, 200), np.uint8)
        cv2.ellipse(mask, (100, 75), (50 + 5 * number, 30), 0, 0, 360, 255, -1)
        photo = rng.integers(0, 255, (150, 200, 3), np.uint8)
        cv2.imwrite(str(folder / f"ecssd/images/{number}.jpg"), photo)
        cv2.imwrite(str(folder / f"ecssd/masks/{number}.png"), mask)
        cv2.imwrite(str(folder / f"backgrounds/{number}.jpg"), cv2.blur(photo, (9, 9)))
    return folder


@pytest.fixture
def make(tool, monkeypatch):
    """Function that runs the tool."""

    def run(kind, out, *options):
        arguments = [kind, "--out", str(out), "--frames", str(FRAMES), *map(str, options)]
        monkeypatch.setattr("sys.argv", ["make_standins.py", *arguments])
        tool("make_standins").main()

    return run


@pytest.mark.parametrize(
    ("kind", "least"), [("like", 0.004), ("passing", 0.008), ("weak", 0.004), ("small", 0.0001)]
)
def test_composed_clips_read_back_and_follow_from_the_seed(kind, least, make, data, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make(kind, tmp_path / name, "--count", 2, "--data", data, "--seed", seed)
    dataset = open_dataset("davis2016", tmp_path / "a")
    names = dataset.names(kind)
    assert len(names) == 2
    for name in names:
        assert len(dataset.sequence(name)) == FRAMES
        masks = np.array([dataset.annotation(name, index) for index in range(FRAMES)])
        assert set(np.unique(masks)) == {0, 1} and masks[0].mean() > least
        assert masks.mean(axis=(1, 2)).max() < (0.25 if kind != "small" else 0.005)
    first, same, other = (
        b"".join(path.read_bytes() for path in sorted((tmp_path / name).rglob("*.jpg")))
        for name in "abc"
    )
    assert first == same != other


def test_table_clip_reads_back(make, tmp_path):
    make("table", tmp_path, "--count", 1)
    dataset = open_dataset("davis2016", tmp_path)
    (name,) = dataset.names("table")
    assert dataset.annotation(name, 0).any() and len(dataset.sequence(name)) == FRAMES


@pytest.mark.parametrize(
    "events", [TableEvents(cut=True, exit=True), TableEvents(occluded=True, twin=True)]
)
def test_table_scene_has_its_events(events):
    rng = np.random.default_rng(2)
    scene = build_table_scene(rng, TIMES, SIZE, events)
    masks = [frame.mask for frame in render_scene(rng, scene, FRAMES, SIZE, 2, 5.0)]
    empty = [not mask.any() for mask in masks]
    assert (2 <= sum(empty) <= 3) if events.exit else not any(empty)
    assert not empty[0] and not empty[-1]
    border = masks[0][:, 0].any() or masks[0][:, -1].any()
    assert border == events.cut
    turns = np.degrees(np.abs(np.diff(scene.orbit.azimuth)))
    assert turns.min() > 9.9 and turns.max() < 30.1 and 79 < turns.sum() < 181


def test_limb_swings_about_its_joint():
    alpha = np.zeros((90, 60), np.uint8)
    cv2.circle(alpha, (30, 25), 20, 255, -1)
    alpha[40:85, 26:34] = 255
    sprite = make_sprite(np.full((90, 60, 3), 200, np.uint8), alpha)
    cut = sample_cut(sprite, 0.2, True, np.random.default_rng(0))
    assert cut.normal[1] > 0.9
    limb = swinging(sprite, cut, 0.8, 4.0, 0.0)
    rest, swung = (limb.at(time).rgba[..., 3].astype(int) for time in (0.0, 1.0))
    assert rest.sum() == pytest.approx(int(sprite.rgba[..., 3].sum()), rel=0.02)
    assert swung.sum() == pytest.approx(rest.sum(), rel=0.1)
    joint = int(limb.joint[1])
    assert (rest != swung)[: joint - 12].sum() == 0 < (rest != swung)[joint:].sum()


def test_differences_are_paired_by_sequence(tool):
    reference = {"a": {"J": 0.2}, "b": {"J": 0.8}}
    scores = {"a": {"J": 0.3}, "b": {"J": 1.0}}
    found = tool("compare_online").difference(scores, reference, "J")
    assert found["mean"] == pytest.approx(0.15)
    assert found["standard_error"] == pytest.approx(0.05)
    single = tool("compare_online").difference({"a": {"J": 1.0}}, reference, "J")
    assert single == {"mean": pytest.approx(0.8), "standard_error": None}
