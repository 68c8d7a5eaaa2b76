"""Data-parallel training: every device computes a part of each batch.

Keras's own `keras.distribution.DataParallel` does it: variables are copied to every device, the
batch is cut along its first axis, and the compiled step sums the gradients over the devices. It
works on the JAX backend; on TensorFlow Keras calls it a prototype, accepts it, and trains on one
device without a word. One machine with several GPUs is what is supported here.
"""

from __future__ import annotations

from typing import Any

import keras

from deeplab_gygo import backend
from deeplab_gygo.errors import UsageError
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP


def distribute(batch: int) -> int:
    """Spreads all that is built from now on in this process over all devices.

    Args:
        batch: Examples a step.

    Returns:
        Number of devices.

    Raises:
        UsageError: The backend cannot, or the batch cannot be cut into equal parts of whole clips.
    """
    if backend.name() != "jax":
        raise UsageError(
            "Data-parallel training needs the JAX backend",
            met=backend.name(),
            where="data_parallel",
            remedy="Set KERAS_BACKEND=jax, or data_parallel to false",
        )
    devices = keras.distribution.list_devices()
    if batch % (FRAMES_PER_CLIP * len(devices)):
        raise UsageError(
            f"A batch gives each of {len(devices)} devices whole clips of {FRAMES_PER_CLIP} moments",
            met=batch,
            where="batch",
            remedy=f"Take a multiple of {FRAMES_PER_CLIP * len(devices)}",
        )
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    return len(devices)


def spread(values: Any) -> Any:
    """Cuts arrays along their first axis over the devices, if there is a distribution.

    Args:
        values: An array, or a dict of arrays, of one length.

    Returns:
        The same, on the devices; unchanged where nothing is distributed.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return values
    if isinstance(values, dict):
        return {name: spread(value) for name, value in values.items()}
    return keras.distribution.distribute_tensor(values, distribution.get_data_layout(values.shape))
