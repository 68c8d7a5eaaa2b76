"""A network that several test modules share."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def parent(small_parent):
    """A network whose logits depend on guide and memory."""
    parent = small_parent(separable=False)
    rng = np.random.default_rng(0)
    for name, spread in (("recall_sharp_join", 1.0), ("logit", 0.3)):
        kernel = parent.head.get_layer(name).kernel
        kernel.assign(rng.normal(0, spread, kernel.shape).astype(np.float32))
    return parent
