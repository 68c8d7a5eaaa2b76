"""Things that are not the object, pasted into views."""

import numpy as np
import pytest

from deeplab_gygo.config import OnlineConfig
from deeplab_gygo.models.geometry import Geometry
from deeplab_gygo.online.distractors import distractor_pictures, paste_distractor
from deeplab_gygo.online.views import first_frame_views

SIZE = (96, 128)


@pytest.fixture(scope="module")
def scene():
    image = np.full((*SIZE, 3), 90, np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[30:70, 40:80] = 1
    image[mask > 0] = (220, 40, 40)
    return image, mask


def test_the_shipped_things_are_cut_out():
    things = distractor_pictures()
    assert len(things) == 24
    for thing in things:
        solid = thing[..., 3] > 127
        assert thing.shape[2] == 4 and 0.2 < solid.mean() <= 1.0
        assert solid.any(axis=1)[[0, -1]].all() and solid.any(axis=0)[[0, -1]].all()


def test_the_object_stays_whole_unless_it_is_covered(scene):
    image, mask = scene
    covered = 0
    for seed in range(60):
        pasted, labels = paste_distractor(image, mask, np.random.default_rng(seed))
        assert pasted.dtype == np.uint8 and pasted.shape == image.shape
        assert set(np.unique(labels)) <= {0, 1} and not (labels & ~mask).any()
        covered += not np.array_equal(labels, mask)
        # What is still labeled as the object still looks like it, but for a soft edge.
        core = np.zeros(SIZE, bool)
        core[36:64, 46:74] = True
        inside = (labels == 1) & core
        changed = np.abs(pasted.astype(int) - image).max(axis=2) > 130
        assert not (changed & inside).any()
    assert 0 < covered < 30


def test_pasting_changes_the_background_and_follows_from_the_seed(scene):
    image, mask = scene
    one, _ = paste_distractor(image, mask, np.random.default_rng(3))
    again, _ = paste_distractor(image, mask, np.random.default_rng(3))
    np.testing.assert_array_equal(one, again)
    assert (one != image).any()


def test_the_share_decides_and_the_first_view_is_the_frame_as_it_is(scene):
    image, mask = scene
    geometry = Geometry.fit(SIZE, 96, 16)

    def views(share):
        config = OnlineConfig(views=6, lucid=0.0, distractors=share)
        return first_frame_views(image, mask, geometry, config, np.random.default_rng(0))

    np.testing.assert_array_equal(views(1.0)[0].image, geometry.image(image))
    colors = [len(np.unique(v.image.reshape(-1, 3) // 32, axis=0)) for v in views(1.0)[1:]]
    plain = [len(np.unique(v.image.reshape(-1, 3) // 32, axis=0)) for v in views(0.0)[1:]]
    assert np.mean(colors) > np.mean(plain)
