"""J of OSMN and OSVOS during their training, on sequences held back."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.baselines.osmn.guides import gaussian_guide, visual_crop
from deeplab_gygo.baselines.osmn.network import Osmn
from deeplab_gygo.baselines.osvos.network import FUSED, Osvos
from deeplab_gygo.baselines.shared.config import default_side
from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.evaluation.measures import jaccard
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.synthesis.sources import data_root as resolve_root
from deeplab_gygo.training.config import ValidationConfig


class _SystemValidation(ABC):
    """Measures every set of a configuration; what a sequence gives is for the method to say."""

    modes: tuple[str, ...]

    def __init__(
        self, parent: Osmn | Osvos, sets: list[ValidationConfig], data_root: str, threshold: float
    ):
        root = resolve_root(data_root)
        self._sets = [(s, open_dataset(s.kind, root / s.root)) for s in sets]
        self._short_side, self._stride = (
            default_side(parent.config.trunk, "one-shot"),
            parent.stride,
        )
        # Logits are compared, not probabilities: the same, without computing them.
        self._least = float(np.log(threshold) - np.log1p(-threshold))

    def run(self) -> dict[str, float]:
        """Returns mean J over the sequences by `<root>/<mode>`."""
        scores = {}
        for config, dataset in self._sets:
            names = config.sequences or dataset.names(config.split)
            rows = [self._sequence(dataset, name, config.stride) for name in names]
            label = config.root or config.kind
            scores |= {
                f"{label}/{mode}": float(np.mean([row[mode] for row in rows]))
                for mode in self.modes
            }
        return scores

    @abstractmethod
    def _sequence(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        """Returns mean J of every mode over a sequence."""

    def _geometry(self, sequence) -> Geometry:
        return Geometry.fit(sequence.size, self._short_side, self._stride)


class OsmnValidation(_SystemValidation):
    """Measures OSMN on every so many frames after the first, whose cut-out is the visual guide.

    `told` gives the *true* mask of the frame before as the spatial guide, which is better than
    what a propagation has. `carried` gives the network's own mask of the frame that was measured
    before, which lies many frames back and is worse than what a propagation has.

    Args:
        parent: Network to measure; its weights may change between runs.
        sets: What to measure on.
        data_root: Folder that relative roots start at.
        threshold: Probability above which a pixel is object.
    """

    modes = ("told", "carried")

    def __init__(
        self, parent: Osmn, sets: list[ValidationConfig], data_root: str, threshold: float
    ):
        super().__init__(parent, sets, data_root, threshold)
        self._visual = backend.compiled(parent.visual)
        self._segmentation = backend.compiled(parent.segmentation)

    def _sequence(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        sequence = dataset.sequence(name)
        annotated = sorted(sequence.annotations)
        geometry = self._geometry(sequence)
        first = dataset.annotation(name, annotated[0]) == 1
        crop, outline = visual_crop(sequence.frame(annotated[0]).image, first)
        scales = self._visual(
            {
                "crop": crop[None].astype(np.float32),
                "crop_mask": outline[None, ..., None].astype(np.float32),
            }
        )
        values: dict[str, list[float]] = {mode: [] for mode in self.modes}
        carried = first
        # The first frame measured is not the annotated one.
        for position in range(min(stride, len(annotated) - 1), len(annotated), stride):
            image = geometry.image(sequence.frame(annotated[position]).image)
            truth = dataset.annotation(name, annotated[position])
            before = dataset.annotation(name, annotated[max(position - 1, 0)]) == 1
            for mode, previous in (("told", before), ("carried", carried)):
                guide = gaussian_guide(geometry.labels(previous.astype(np.uint8)))
                inputs = {"image": image[None].astype(np.float32), "spatial": guide[None]}
                logits = self._segmentation({**inputs, "scales": scales})
                found = geometry.logits(backend.to_numpy(logits)[0, ..., 0]) > self._least
                values[mode].append(jaccard(found, truth))
            carried = found
        return {mode: float(np.mean(part)) for mode, part in values.items()}


class OsvosValidation(_SystemValidation):
    """Measures OSVOS's parent as it is, without fine-tuning, on every so many frames.

    Args:
        parent: Network to measure; its weights may change between runs.
        sets: What to measure on.
        data_root: Folder that relative roots start at.
        threshold: Probability above which a pixel is object.
    """

    modes = ("zero-shot",)

    def __init__(
        self, parent: Osvos, sets: list[ValidationConfig], data_root: str, threshold: float
    ):
        super().__init__(parent, sets, data_root, threshold)
        self._network = backend.compiled(parent.network)

    def _sequence(self, dataset: Dataset, name: str, stride: int) -> dict[str, float]:
        sequence = dataset.sequence(name)
        geometry = self._geometry(sequence)
        values = []
        for index in sorted(sequence.annotations)[::stride]:
            image = geometry.image(sequence.frame(index).image)[None].astype(np.float32)
            logits = backend.to_numpy(self._network({"image": image})[FUSED])[0, ..., 0]
            truth = dataset.annotation(name, index)
            values.append(jaccard(geometry.logits(logits) > self._least, truth))
        return {"zero-shot": float(np.mean(values))}
