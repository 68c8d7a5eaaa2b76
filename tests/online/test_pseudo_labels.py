"""Labels for online adaptation: the sure object, the far background, and nothing between."""

import numpy as np

from deeplab_gygo.data.augment import VOID
from deeplab_gygo.online.pseudo_labels import pseudo_labels

HEIGHT, WIDTH = 48, 96  # of the short side: distances of 22 pixels, a core 1 pixel smaller


def _previous() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[12:36, 12:36] = 1
    return mask


def test_a_worked_example():
    probability = np.full((HEIGHT, WIDTH), 0.01, np.float32)
    probability[14:34, 16:40] = 0.6
    probability[18:30, 20:36] = 0.98
    probability[20:28, 80:90] = 0.99  # sure, but far from where the object was
    labels = pseudo_labels(probability, _previous())
    assert labels.dtype == np.uint8 and labels.shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(labels == 1, (probability == 0.98))
    assert labels[15, 17] == VOID, "the object, but not surely"
    assert labels[24, 36 + 15] == VOID, "surely background, but near"
    assert (labels[:, 36 + 28 :] == 0).all(), "far is background, however sure"
    assert set(np.unique(labels)) == {0, 1, VOID}


def test_distances_grow_with_the_frame():
    small, large = (
        pseudo_labels(np.zeros((HEIGHT * k, WIDTH * k), np.float32), np.kron(_previous(), block))
        for k, block in ((1, np.ones((1, 1))), (4, np.ones((4, 4))))
    )
    assert abs((small == 0).mean() - (large == 0).mean()) < 0.03


def test_too_little_of_the_last_mask_says_nothing():
    probability = np.full((HEIGHT, WIDTH), 0.99, np.float32)
    assert pseudo_labels(probability, np.zeros((HEIGHT, WIDTH), bool)) is None
    thin = np.zeros((HEIGHT, WIDTH), bool)
    thin[20] = True  # nothing of a line is left when it is shrunk
    assert pseudo_labels(probability, thin) is None


def test_masks_may_be_logical_or_of_ones():
    probability = np.random.default_rng(0).random((HEIGHT, WIDTH)).astype(np.float32)
    np.testing.assert_array_equal(
        pseudo_labels(probability, _previous()), pseudo_labels(probability, _previous() > 0)
    )


def test_distractors_are_background_however_near_and_sure():
    probability = np.full((HEIGHT, WIDTH), 0.99, np.float32)
    distractors = np.zeros((HEIGHT, WIDTH), bool)
    distractors[12:20, 37:45] = True
    labels = pseudo_labels(probability, _previous(), distractors)
    assert (labels[distractors] == 0).all() and labels[30, 40] == 1
