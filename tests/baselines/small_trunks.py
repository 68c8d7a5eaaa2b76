"""Thin trunks, for tests of what is built on a trunk: same strides and names, little time."""

from unittest import mock

from deeplab_gygo.baselines.shared import trunks
from deeplab_gygo.baselines.shared.vgg import VggSpec
from deeplab_gygo.models.inverted_residual import efficientnet_lite

THIN = {
    "vgg16": VggSpec(stages=((2, 4), (2, 8), (3, 8), (3, 12), (3, 16)), dense=24),
    "efficientnet_lite0": efficientnet_lite(0.25, 0.5),
}


def thin_trunks():
    """Makes a context in which trunks are thin; what was built in it stays so behind it."""
    return mock.patch.dict(trunks.SPECS, THIN)
