"""Optional packages: imported when they are used, named with their extra when they are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from deeplab_gygo.errors import DependencyError, StorageError


def import_extra(
    package: str, extra: str, distribution: str | None = None, purpose: str = "This export"
) -> ModuleType:
    """Imports an optional package.

    Args:
        package: Module to import.
        extra: Extra of this distribution that installs it.
        distribution: Name under which it is installed, where that differs.
        purpose: Feature that needs it, for the message.

    Returns:
        The module.

    Raises:
        DependencyError: It is missing.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise DependencyError(distribution or package, extra, purpose) from error


def versions_of(*distributions: str) -> dict[str, str]:
    """Returns the versions of installed distributions by name."""
    return {name: metadata.version(name) for name in distributions}


def save_signatures(module: Any, folder: Path, signatures: dict[str, Any]) -> None:
    """Writes a TensorFlow SavedModel, from which other formats are converted too.

    Args:
        module: `tf.Module` with the variables and functions.
        folder: Folder to write.
        signatures: Concrete functions by name.

    Raises:
        StorageError: The folder cannot be written.
    """
    import tensorflow as tf

    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    except tf.errors.OpError as error:  # a full disk, among others
        raise StorageError(
            "An export can be written",
            met=error.message,
            where=folder,
            remedy="Free some space, or give a folder that is writable",
        ) from error


def trace_on_frames(
    function: Callable[[Any], dict[str, Any]], variables: Sequence[Any]
) -> tuple[Any, Any]:
    """Traces a function of frames with TensorFlow, for frames of any number and size.

    Args:
        function: From frames float32 [N, H, W, 3] to features by name.
        variables: Keras variables that it reads.

    Returns:
        A `tf.Module` that holds the variables and the function, as `call`, and its signature.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="frames")])
    def call(frames):
        features = function(tf.cast(frames, tf.float32))
        return {name: tf.cast(value, tf.float32) for name, value in features.items()}

    module = tf.Module()
    module.weights = [variable.value for variable in variables]
    module.call = call
    return module, call.get_concrete_function()


class EventFile:
    """Scalars of a training for TensorBoard, in a folder of events."""

    def __init__(self, folder: Path):
        self._tf: Any = import_module("tensorflow")
        self._writer = self._tf.summary.create_file_writer(str(folder))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends the scalars of a step."""
        with self._writer.as_default():
            for name, value in values.items():
                self._tf.summary.scalar(name, value, step=step)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()
