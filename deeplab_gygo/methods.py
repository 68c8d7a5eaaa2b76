"""The methods of the benchmark by name; their classes are imported only when one is used.

Every place that needs a class of a method, from the weight file to the command line, looks it up
here. So no engine module imports a baseline, and a run loads the one method that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from deeplab_gygo.errors import UsageError

MethodName = Literal["deeplab", "osmn", "osvos", "copy", "flow", "grabcut"]


@dataclass(frozen=True)
class Method:
    """One video object segmentation method, as names of its classes ("module:Class").

    Attributes:
        name: Its name on the command line and in files.
        modes: Modes that it has, the default one first.
        segmenter: Class with `begin`, `step` and `run`.
        options: Dataclass of its online options.
        architecture: Dataclass of its network; empty for a method without weights.
        network: Class of its network; likewise empty.
        training: Dataclass of its offline training; likewise empty.
        trainer: Class of its trainer; likewise empty.
        weights: File name of its shipped weights; likewise empty.
    """

    name: MethodName
    modes: tuple[str, ...]
    segmenter: str
    options: str
    architecture: str = ""
    network: str = ""
    training: str = ""
    trainer: str = ""
    weights: str = ""

    def resolve(self, kind: str) -> Any:
        """Imports one of its classes.

        Args:
            kind: `segmenter`, `options`, `architecture`, `network`, `training` or `trainer`.

        Raises:
            UsageError: The method has no such class: it has no weights.
        """
        reference = getattr(self, kind)
        if not reference:
            raise UsageError(
                f"The method {self.name} has no weights",
                met=f"a request for its {kind}",
                remedy="Use deeplab, osmn or osvos",
            )
        module, _, name = reference.partition(":")
        return getattr(import_module(f"deeplab_gygo.{module}"), name)


_ALL = (
    Method(
        "deeplab",
        ("fine-tune", "one-shot", "zero-shot"),
        segmenter="inference.segmenter:DeepLabSegmenter",
        options="inference.config:OnlineConfig",
        architecture="models.config:ModelConfig",
        network="models.deeplab:DeepLabV3Plus",
        training="training.config:TrainConfig",
        trainer="training.parent_trainer:ParentTrainer",
        weights="parent.npz",
    ),
    Method(
        "osmn",
        ("one-shot", "fine-tune"),
        segmenter="baselines.osmn.segmenter:OsmnSegmenter",
        options="baselines.osmn.config:OsmnOnline",
        architecture="baselines.osmn.config:OsmnModel",
        network="baselines.osmn.network:Osmn",
        training="baselines.osmn.config:OsmnTraining",
        trainer="baselines.osmn.training:OsmnTrainer",
        weights="osmn.npz",
    ),
    Method(
        "osvos",
        ("fine-tune", "zero-shot"),
        segmenter="baselines.osvos.segmenter:OsvosSegmenter",
        options="baselines.osvos.config:OsvosOnline",
        architecture="baselines.osvos.config:OsvosModel",
        network="baselines.osvos.network:Osvos",
        training="baselines.osvos.config:OsvosTraining",
        trainer="baselines.osvos.training:OsvosTrainer",
        weights="osvos.npz",
    ),
    Method(
        "copy",
        ("one-shot",),
        segmenter="baselines.classical:CopySegmenter",
        options="baselines.classical:ClassicalOnline",
    ),
    Method(
        "flow",
        ("one-shot",),
        segmenter="baselines.classical:FlowSegmenter",
        options="baselines.classical:FlowOnline",
    ),
    Method(
        "grabcut",
        ("one-shot",),
        segmenter="baselines.classical:GrabCutSegmenter",
        options="baselines.classical:GrabCutOnline",
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
"""Every method by name: DeepLabV3+, OSMN, OSVOS, and three classical ones without weights."""


def find_method(name: str) -> Method:
    """Returns a method by its name.

    Raises:
        UsageError: There is no such method.
    """
    if name not in METHODS:
        raise UsageError(f"A method is one of {', '.join(METHODS)}", met=name, where="--method")
    return METHODS[name]


def method_of_architecture(config: Any) -> Method:
    """Returns the method whose network an architecture describes.

    Args:
        config: Instance of the `architecture` of a method.

    Raises:
        UsageError: It belongs to no method.
    """
    kind = type(config)
    reference = f"{kind.__module__.removeprefix('deeplab_gygo.')}:{kind.__name__}"
    for method in METHODS.values():
        if method.architecture == reference:
            return method
    raise UsageError("An architecture belongs to a method", met=kind.__name__)


def make_segmenter(
    name: str, parent: Any, config: Any, seed: int = 0, encode: Any | None = None
) -> Any:
    """Makes the segmenter of a method.

    Args:
        name: A key of `METHODS`.
        parent: Its network; None for a classical method, which has none.
        config: Its online options.
        seed: Of everything random.
        encode: What encodes in place of the network's own encoder (`inference.engines`);
            DeepLabV3+ only. None for that.

    Returns:
        The segmenter (`inference.prediction.Segmenter`).

    Raises:
        UsageError: There is no such method, or the network or the options are of another one.
    """
    method = find_method(name)
    options = method.resolve("options")
    if not isinstance(config, options):
        raise UsageError(
            f"The method {name} takes the options of {options.__name__}",
            met=type(config).__name__,
        )
    segmenter = method.resolve("segmenter")
    if not method.architecture:
        return segmenter(config)
    if not isinstance(getattr(parent, "config", None), method.resolve("architecture")):
        raise UsageError(
            f"The method {name} runs on a network of its own",
            met=type(parent).__name__,
            remedy="Give weights of this method",
        )
    return segmenter(parent, config, seed, encode) if encode else segmenter(parent, config, seed)
