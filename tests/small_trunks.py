"""Thin trunks with the strides and names of the real ones, for fast tests."""

from unittest import mock

from deeplab_gygo.baselines.shared import trunks
from deeplab_gygo.baselines.shared.vgg import VggSpec
from deeplab_gygo.models.inverted_residual import efficientnet_lite

THIN = {
    "vgg16": VggSpec(stages=((2, 4), (2, 8), (3, 8), (3, 12), (3, 16)), dense=24),
    "efficientnet_lite0": efficientnet_lite(0.25, 0.5),
}


def thin_trunks():
    """Returns a context in which networks are built on thin trunks."""
    return mock.patch.dict(trunks.SPECS, THIN)
