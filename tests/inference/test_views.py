"""Augmented views of the annotated frame: labels, lucid views, guides."""

import numpy as np

from deeplab_gygo.inference import views as module
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.views import augmented_views

SIZE = (64, 96)
GEOMETRY = Geometry.fit(SIZE, 480, 16)


def _views(**changes):
    rng = np.random.default_rng(0)
    image = rng.integers(60, 120, (*SIZE, 3)).astype(np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[20:44, 30:60] = 1
    image[mask > 0] = (230, 210, 40)
    options = {"count": 6, "lucid_fraction": 0.5, "scale": (0.8, 1.3), "guide_dropout": 0.5}
    views = augmented_views(
        image, mask, GEOMETRY, np.random.default_rng(1), **{**options, **changes}
    )
    return image, mask, views


def test_the_first_view_is_the_frame():
    image, mask, views = _views()
    assert len(views) == 6
    np.testing.assert_array_equal(views[0].image, image)
    np.testing.assert_array_equal(views[0].mask, mask)
    np.testing.assert_array_equal(views[0].guide, GEOMETRY.guide(mask))


def test_labels_are_on_the_object_in_every_view():
    for view in _views()[2]:
        assert view.mask.any()
        red, blue = (view.image[..., c].astype(int)[view.mask > 0] for c in (0, 2))
        assert np.mean(red > blue + 50) > 0.8


def test_the_lucid_fraction_of_the_views_has_the_object_elsewhere(monkeypatch):
    calls = []
    original = module.lucid_view

    def counted(*arguments):
        picture, labels = original(*arguments)
        calls.append((arguments[1], labels))
        return picture, labels

    monkeypatch.setattr(module, "lucid_view", counted)
    _views(lucid_fraction=0.0)
    assert not calls
    _views(lucid_fraction=1.0)
    assert len(calls) == 5
    moved = [np.count_nonzero(before & after) < 0.9 * before.sum() for before, after in calls]
    assert sum(moved) >= 3
    calls.clear()
    _views(count=101)
    assert 35 <= len(calls) <= 65


def test_the_coded_mask_is_the_true_one_and_a_dropped_guide_is_unknown():
    _, mask, views = _views(guide_dropout=1.0)
    np.testing.assert_array_equal(views[0].coded_mask, GEOMETRY.guide(mask))
    for view in views[1:]:
        assert not view.guide.any()
        np.testing.assert_array_equal(view.coded_mask, GEOMETRY.guide(view.mask))
    assert all(view.guide.any() for view in _views(guide_dropout=0.0)[2])
