"""Endpoints of an export as traced TensorFlow functions, and the base class of formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from deeplab_gygo.export.parity import EndpointFn
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel
from deeplab_gygo.models.weight_file import variables_by_name

OUTPUTS = ("probability", "mask")
"""Names of the outputs of every endpoint."""


class Endpoints(NamedTuple):
    """Network from frames to masks, traced for frames of any number and size.

    Attributes:
        module: `tf.Module` with the variables and, by name, the endpoints as `tf.function`.
        signatures: Endpoints as concrete functions by name: `serving_default` and, where the
            architecture has a guide, `guided`.
    """

    module: Any
    signatures: dict[str, Any]

    @classmethod
    def of(
        cls,
        parent: DeepLabV3Plus,
        size: int,
        threshold: float,
        memory: Memory | None,
        target_model: TargetModel | None = None,
    ) -> Endpoints:
        """Traces a network; arguments as of `export.graph.segmentation_graph`."""
        import tensorflow as tf

        from deeplab_gygo.export.graph import segmentation_graph

        frames = tf.TensorSpec([None, None, None, 3], tf.uint8, name="frames")
        previous = tf.TensorSpec([None, None, None], tf.float32, name="previous")
        segment = segmentation_graph(parent, size, threshold, memory, target_model)
        module = tf.Module()
        # Held one by one: Keras's ExportArchive stores every variable of two models twice.
        module.weights = {name: v.value for name, v in variables_by_name(parent).items()}
        calls = {
            "serving_default": tf.function(lambda frames: segment(frames), input_signature=[frames])
        }
        if parent.config.guide:
            calls["guided"] = tf.function(segment, input_signature=[frames, previous])
        for name, call in calls.items():
            setattr(module, name, call)
        return cls(module, {name: call.get_concrete_function() for name, call in calls.items()})


class Format(ABC):
    """Format in which a network runs without this package.

    Attributes:
        name: Name on the command line.
        marker: File that every export of the format has; a folder without it is never replaced.
        card_file: Path of the model card inside an export.
        any_precision: Whether networks in 16-bit precision can be written.
        use: Example of a call, for the card.
    """

    name: ClassVar[str]
    marker: ClassVar[str]
    card_file: ClassVar[str] = "model_card.json"
    any_precision: ClassVar[bool] = False
    use: ClassVar[str]

    @abstractmethod
    def require(self) -> dict[str, str]:
        """Returns the versions of the packages that write and run the format, by name.

        Raises:
            DependencyError: One of them is missing.
        """

    @abstractmethod
    def write(self, endpoints: Endpoints, folder: Path) -> None:
        """Writes the endpoints into a folder.

        Args:
            endpoints: Traced network.
            folder: Existing, empty folder.

        Raises:
            StorageError, OSError: The folder cannot be written.
        """

    @abstractmethod
    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, EndpointFn]:
        """Loads an export as a program without this package would.

        Args:
            folder: Folder that `write` filled.
            names: Names of its endpoints.

        Returns:
            The endpoints by name.
        """
