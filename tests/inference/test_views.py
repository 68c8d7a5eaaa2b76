"""Views of the first frame: labels that belong to the pictures, and the coded mask."""

import numpy as np

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.views import first_frame_views

SIZE = (64, 96)


def _views(**changes):
    rng = np.random.default_rng(0)
    image = rng.integers(60, 120, (*SIZE, 3)).astype(np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[20:44, 30:60] = 1
    image[mask > 0] = (230, 210, 40)
    config = OnlineConfig(views=6, **changes)
    geometry = Geometry.fit(SIZE, 480, 16)
    return image, mask, first_frame_views(image, mask, geometry, config, np.random.default_rng(1))


def test_the_first_view_is_the_frame_as_it_is():
    image, mask, views = _views()
    assert len(views) == 6
    np.testing.assert_array_equal(views[0].image, image)
    np.testing.assert_array_equal(views[0].mask, mask)


def test_labels_lie_on_the_object_in_every_view():
    _, _, views = _views(lucid=0.5, distractors=0.0)
    for view in views:
        assert view.mask.any()
        red, blue = (view.image[..., c].astype(int)[view.mask > 0] for c in (0, 2))
        assert np.mean(red > blue + 50) > 0.8


def test_the_coded_mask_is_the_true_one_whatever_the_guide_says():
    _, mask, views = _views(guide_dropout=1.0)
    geometry = Geometry.fit(SIZE, 480, 16)
    np.testing.assert_array_equal(views[0].coded, geometry.guide(mask))
    for view in views[1:]:
        assert not view.guide.any()
        np.testing.assert_array_equal(view.coded, geometry.guide(view.mask))
