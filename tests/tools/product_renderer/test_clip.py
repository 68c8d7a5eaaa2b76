"""The renderer: exact masks, plausible framing, pictures that follow from the seed alone."""

import cv2
import numpy as np
import pytest
from product_renderer import meshes
from product_renderer.catalog import KINDS
from product_renderer.clip import render_product_clip, render_product_still, write_product_clip
from product_renderer.lighting import DepthMap
from product_renderer.models import normalized
from product_renderer.raster import barycentric, look_at, rasterize_view
from product_renderer.sampling import pyramid, sample

from deeplab_gygo.errors import StorageError, UsageError
from deeplab_gygo.io.masks import read_mask

SMALL = (160, 90)


@pytest.fixture(scope="module")
def clip():
    return list(render_product_clip(frames=3, size=SMALL, seed=5, frame_rate=1.0))


def border_pixels(mask: np.ndarray) -> int:
    return int(mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum())


def test_clip_has_the_asked_form(clip):
    assert len(clip) == 3
    for frame in clip:
        assert frame.image.shape == (*SMALL, 3) and frame.image.dtype == np.uint8
        assert frame.mask.shape == SMALL and frame.mask.dtype == np.uint8
        assert set(np.unique(frame.mask)) == {0, 1}


def test_camera_moves_and_frames_stay_related(clip):
    for before, after in zip(clip[:-1], clip[1:], strict=True):
        assert np.abs(before.image.astype(int) - after.image).mean() > 3
        overlap = (before.mask & after.mask).sum() / (before.mask | after.mask).sum()
        assert 0.4 < overlap < 1


def test_clip_streams():
    clip = render_product_clip(frames=10**9, size=SMALL, seed=5, frame_rate=1e8)
    assert next(clip).mask.any()


def test_same_seed_same_pictures_whatever_the_global_state():
    seed = 1
    np.random.seed(0)
    first = render_product_still(seed, SMALL)
    np.random.seed(1)
    np.random.rand()
    second = render_product_still(seed, SMALL)
    assert (first.image == second.image).all() and (first.mask == second.mask).all()
    assert (render_product_still(seed + 1, SMALL).image != first.image).mean() > 0.5


@pytest.mark.parametrize("size", [(854, 480), (256, 320), (64, 64)])
def test_sizes(size):
    still = render_product_still(4, size)
    assert still.image.shape == (*size, 3)
    assert 0.04 < still.mask.mean() < 0.26


@pytest.mark.parametrize("kind", ["carton", "bottle", "mug", "shoe", "car", "chair"])
def test_product_fills_its_share_inside_the_frame(kind):
    for frame in render_product_clip(frames=2, size=SMALL, seed=11, frame_rate=0.3, kind=kind):
        assert 0.04 < frame.mask.mean() < 0.26
        assert border_pixels(frame.mask) == 0
        # A picture that shows something: neither black nor white, neither flat nor noise.
        gray = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
        assert 25 < gray.mean() < 235 and gray.std() > 10


def test_mask_follows_the_edges_of_the_picture():
    # A plain ball differs from its ground, so its outline must be an edge of the picture.
    ratios = []
    for seed in range(4):
        still = render_product_still(seed, (160, 160), kind="ball")
        gray = cv2.GaussianBlur(still.image, (0, 0), 1).astype(np.float32).mean(axis=2)
        edges = np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1))
        outline = cv2.morphologyEx(still.mask, cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
        ratios.append(edges[outline].mean() / edges[~outline].mean())
    assert np.median(ratios) > 3


def test_ball_is_round_and_in_one_piece():
    mask = render_product_still(3, (160, 160), kind="ball").mask
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    assert len(outlines) == 1
    hull = cv2.contourArea(cv2.convexHull(outlines[0]))
    assert cv2.contourArea(outlines[0]) / hull > 0.97


def test_variety():
    stills = [render_product_still(seed, (96, 96)) for seed in range(8)]
    colors = np.array([s.image[s.mask == 1].mean(axis=0) for s in stills])
    grounds = np.array([s.image[s.mask == 0].mean(axis=0) for s in stills])
    assert colors.std(axis=0).min() > 20 and grounds.std(axis=0).min() > 10


@pytest.mark.parametrize(
    "bad",
    [{"frames": 0}, {"size": (8, 8)}, {"seed": -1}, {"frame_rate": 0}, {"kind": "cloud"}],
)
def test_bad_arguments_are_refused_at_once(bad):
    with pytest.raises(UsageError, match=str(next(iter(bad.values()))).replace("(", r"\(")[:4]):
        render_product_clip(**bad)


def test_written_clip_reads_back(tmp_path, clip):
    assert write_product_clip(tmp_path, frames=3, size=SMALL, seed=5, frame_rate=1.0) == tmp_path
    for folder, suffix in (("frames", "jpg"), ("masks", "png")):
        names = sorted(path.name for path in (tmp_path / folder).iterdir())
        assert names == [f"{index:05d}.{suffix}" for index in range(3)]
    for index, frame in enumerate(clip):
        assert (read_mask(tmp_path / "masks" / f"{index:05d}.png") == frame.mask).all()
        stored = cv2.imread(str(tmp_path / "frames" / f"{index:05d}.jpg"))[..., ::-1]
        assert np.abs(stored.astype(int) - frame.image).mean() < 6


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_product_clip(tmp_path / "file" / "clip", frames=1, size=SMALL)


class TestRasterizer:
    VIEW = look_at((0.0, -2.0, 0.0), (0.0, 0.0, 0.0), 0.0, 100.0, (120, 160))

    def test_projection_has_right_right_and_up_up(self):
        x, y, depth = self.VIEW.project(np.array([[0.5, 0.0, 0.5]]))[0]
        assert (x, y, depth) == pytest.approx((80 + 25, 60 - 25, 2))

    def test_area_of_a_square_facing_the_camera(self):
        square = np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0.5, 0, 0.5], [-0.5, 0, 0.5]])
        faces = np.array([[0, 1, 2], [0, 2, 3]])
        seen = rasterize_view(self.VIEW, square, faces)
        assert len(seen.pixels) == 50 * 50
        assert np.allclose(seen.closeness, 0.5)
        assert len(rasterize_view(self.VIEW, square, faces[:, ::-1]).pixels) == 0

    def test_the_nearer_face_wins(self):
        triangle = np.array([[-0.5, 0, -0.5], [0.5, 0, -0.5], [0, 0, 0.5]])
        both = np.concatenate([triangle, triangle * 2 - (0, 0.5, 0)])
        faces = np.array([[0, 1, 2], [3, 4, 5]])
        assert set(rasterize_view(self.VIEW, both, faces).faces) == {1}
        assert set(rasterize_view(self.VIEW, both, faces[::-1]).faces) == {0}

    def test_weights_are_perspective_correct(self):
        # A ground that runs away from the camera: the pixel's ray gives the point on it.
        ground = np.array([[-3.0, -1, -1], [3, -1, -1], [3, 5, -1], [-3, 5, -1]])
        faces = np.array([[0, 1, 2], [0, 2, 3]])
        seen = rasterize_view(self.VIEW, ground, faces)
        weights = barycentric(self.VIEW, ground, faces, seen)
        points = (weights[..., None] * ground[faces[seen.faces]]).sum(axis=1)
        rays = self.VIEW.rays().reshape(-1, 3)[seen.pixels]
        exact = self.VIEW.position + rays / -rays[:, 2:]
        assert len(seen.pixels) > 1000
        assert np.abs(points - exact).max() < 1e-3

    def test_shadow_lies_opposite_to_the_light(self):
        box = meshes.rounded_box((0.2, 0.2, 0.4), 0.02)
        light = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)
        shadows = DepthMap.render(light, box.vertices, box.faces, 256)
        ground = np.array([[-0.3, 0, 0], [0.3, 0, 0], [-0.3, 0.3, 0]], np.float32)
        assert shadows.open_ground(ground) == pytest.approx([0, 1, 1])
        sides = np.array([[0.1, 0, 0.2], [-0.2, 0, 0.2]], np.float32)
        assert shadows.lit(sides) == pytest.approx([1, 0])

    def test_texture_look_up(self):
        texture = np.zeros((4, 4, 3), np.uint8)
        texture[0, 3] = 255
        levels = pyramid(np.kron(texture, np.ones((8, 8, 1), np.uint8)), 3)
        assert [level.shape[0] for level in levels] == [32, 16, 8]
        found = sample(levels[0], np.array([0.875, 0.125]), np.array([0.125, 0.125]))
        assert found[:, 0] == pytest.approx([1, 0], abs=1e-6)


@pytest.mark.parametrize("kind", list(KINDS))
def test_models_stand_on_the_ground_and_face_outward(kind):
    parts = normalized(KINDS[kind](np.random.default_rng(2)), 0.3, 0.7)
    points = np.concatenate([part.mesh.vertices for part in parts])
    assert points[:, 2].min() == pytest.approx(0)
    assert np.ptp(points, axis=0).max() == pytest.approx(0.3)
    for part in parts:
        mesh = part.mesh
        corners = mesh.vertices[mesh.faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        # Closed and wound outward: the signed volume is positive and normals agree with faces.
        assert np.einsum("ij,ij->i", corners[:, 0], across).sum() > 0
        agree = np.einsum("ij,ij->i", across, mesh.normals[mesh.faces].sum(axis=1))
        area = np.linalg.norm(across, axis=1)
        assert area[agree > 0].sum() > 0.95 * area.sum()
        assert np.isfinite(mesh.normals).all() and np.isfinite(mesh.uv).all()
