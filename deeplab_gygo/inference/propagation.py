"""From the features of a frame to the probability of one object in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_gygo.backend import to_numpy
from deeplab_gygo.inference.aggregation import connected, is_little, keep_recognized
from deeplab_gygo.inference.confidence import expected_overlap
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.network import Features, OnlineNetwork
from deeplab_gygo.inference.object_state import Target
from deeplab_gygo.inference.policies import OnlinePolicy
from deeplab_gygo.models.memory import from_cells


@dataclass(frozen=True)
class Look:
    """One way in which every frame is looked at; the predictions of all ways are averaged.

    Attributes:
        geometry: Sizes on the way through the network.
        mirrored: Whether left and right are exchanged.
    """

    geometry: Geometry
    mirrored: bool = False

    def upright(self, plane: np.ndarray) -> np.ndarray:
        """Turns a plane [h, w, ...] of this look upright, or an upright one into this look's."""
        return np.ascontiguousarray(plane[:, ::-1]) if self.mirrored else plane


class Propagation:
    """Predicts objects frame by frame, as a policy wants it.

    Args:
        network: Compiled parts of the parent; None where nothing is predicted here, and only what
            `begin` and `apart` do is wanted.
        config: All numbers.
        policy: What the network is told.
        geometry: Sizes of the sequence's frames.

    Attributes:
        looks: The ways in which frames are looked at; the first one is upright, at the size of
            `geometry`.
    """

    def __init__(
        self,
        network: OnlineNetwork | None,
        config: OnlineConfig,
        policy: OnlinePolicy,
        geometry: Geometry,
    ):
        self._network, self._config = network, config
        self._policy, self._geometry = policy, geometry
        sizes = [geometry]
        if config.second_look:
            side = max(1, round(config.second_look * min(geometry.working)))
            sizes.append(Geometry.fit(geometry.frame, side, network.parent.stride))
        self.looks = [
            Look(g, m) for g in sizes for m in ((False, True) if config.mirrors else (False,))
        ]

    def images(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """Prepares frames for the encoder, one batch a look.

        Args:
            frames: uint8 [H, W, 3] RGB each.

        Returns:
            The frames as every look wants them, uint8 [N, H', W', 3] each.
        """
        batches = []
        for look in self.looks:
            batch = np.stack([look.geometry.image(frame) for frame in frames])
            batches.append(np.ascontiguousarray(batch[:, :, ::-1]) if look.mirrored else batch)
        return batches

    def probability(
        self,
        variants: list[Features],
        target: Target,
        known: np.ndarray | None = None,
        image: np.ndarray | None = None,
    ) -> np.ndarray:
        """Predicts an object and says how far the prediction can be trusted.

        Args:
            variants: Features of the one frame, one set a look.
            target: The object; its `confidence` is set.
            known: float32 [H, W] logits of an earlier prediction of the frame, which count as much
                as one way of telling the network.
            image: uint8 [H', W', 3], the frame as the first look has it, by which distractors are
                followed; None follows none.

        Returns:
            float32 [H, W] in 0..1 at the size of the frames.
        """
        config, policy = self._config, self._policy
        lost = target.is_lost(config.threshold, config.lost)
        planes: dict[Geometry, list[np.ndarray]] = {}
        for look, features in zip(self.looks, variants, strict=True):
            guides = self.guides(look, features, target, lost=lost)
            plane = self._network.logits(features, guides, self.recall(features, target))
            planes.setdefault(look.geometry, []).append(look.upright(plane))
        # Logits are averaged, not probabilities: they keep how sure each look is.
        logits = [geometry.logits(np.mean(same, axis=0)) for geometry, same in planes.items()]
        joined = logits[0] if len(logits) == 1 else np.mean(logits, axis=0)
        if known is not None:
            joined = (len(guides) * joined + known) / (len(guides) + 1)
        probability = sigmoid(joined)
        target.confidence = expected_overlap(probability, config.threshold)
        if policy.sees_mask and config.filter_components:
            probability = self.apart(probability, target, image, variants[0], lost=lost)
        return probability

    def apart(
        self,
        probability: np.ndarray,
        target: Target,
        image: np.ndarray | None,
        features: Features | None = None,
        *,
        lost: bool = False,
    ) -> np.ndarray:
        """Drops distractors and strange parts, and remembers what was dropped.

        Args:
            probability: float32 [H, W] in 0..1, the prediction.
            target: The object; what it follows is brought to this frame.
            image: uint8 [H', W', 3], the frame as the first look has it; None follows nothing.
            features: Of the frame, by which an object that has a memory is recognized.
            lost: Whether the object was not seen in the frame before.

        Returns:
            float32 [H, W]: 0 where something was dropped, unchanged elsewhere.
        """
        if image is None or not self._config.track_distractors:
            return self._filtered(probability, features, target, lost)
        image, threshold = self._geometry.cropped(image), self._config.threshold
        predicted = probability > threshold
        if target.distractors.watches:
            probability = self._claimed(probability, predicted, target, image)
        along = target.distractors.along(predicted.shape)
        probability = self._filtered(probability, features, target, lost, along)
        self._follow(target, image, predicted, probability > threshold)
        return probability

    def _claimed(
        self, probability: np.ndarray, predicted: np.ndarray, target: Target, image: np.ndarray
    ) -> np.ndarray:
        """Takes from a prediction what belongs to known distractors."""
        geometry, threshold = self._geometry, self._config.threshold
        before = geometry.small(target.previous > threshold)
        theirs = target.distractors.claim(image, geometry.small(predicted), before)
        if not theirs.any():
            return probability
        left = np.where(geometry.large(theirs), np.float32(0), probability)
        if is_little(left > threshold, predicted):
            # Rather the object was taken for a distractor, when it came from behind something.
            target.distractors.forget()
            return probability
        return left

    def begin(self, target: Target, image: np.ndarray) -> None:
        """Starts following what is around an object.

        Args:
            target: The object; its `previous` is its place in this frame.
            image: uint8 [H', W', 3], the frame as the first look has it.
        """
        if self._config.track_distractors:
            mask = self._geometry.small(target.previous > self._config.threshold)
            target.distractors.begin(self._geometry.cropped(image), mask)

    def part(self, target: Target, image: np.ndarray, found: np.ndarray) -> None:
        """Takes for distractors what is predicted beside an object that was just found.

        Args:
            target: The object; its `previous` is its place in this frame.
            image: uint8 [H', W', 3], the frame as the first look has it.
            found: float32 [H, W] in 0..1, the prediction.
        """
        threshold = self._config.threshold
        if self._config.track_distractors:
            kept = target.previous > threshold
            self._follow(target, self._geometry.cropped(image), found > threshold, kept)

    def _follow(
        self, target: Target, image: np.ndarray, predicted: np.ndarray, kept: np.ndarray
    ) -> None:
        dropped, small = predicted & ~kept, self._geometry.small
        if dropped.any() or target.distractors.mask is not None:
            usual = target.usual_area * image.shape[0] * image.shape[1] / kept.size
            target.distractors.follow(image, small(dropped), small(kept), usual)
        else:
            target.distractors.pass_by(image, small(kept))

    def _filtered(
        self,
        probability: np.ndarray,
        features: Features | None,
        target: Target,
        lost: bool,
        along: np.ndarray | None = None,
    ) -> np.ndarray:
        """Drops parts away from the last mask, or, where there is none to go by, strange ones."""
        config = self._config
        previous = target.previous > config.threshold
        if along is not None:
            previous |= along
        if not lost:
            kept, jumped = connected(
                probability, previous, config.threshold, usual=target.usual_area
            )
            if not jumped:
                return kept
        if target.memory is None or config.recognize <= -1:
            return probability
        recall = to_numpy(self._network.read(features, *target.memory.contents()))[0]
        likeness = from_cells(recall, self._network.parent.cell)
        return keep_recognized(
            probability,
            self._geometry.logits(likeness),
            config.threshold,
            config.recognize,
            always_one=not lost,
        )

    def guides(self, look: Look, features: Features, target: Target, *, lost: bool) -> list[Any]:
        """Returns what the network is told of an object, once a way of telling it.

        Args:
            look: How the frame is looked at.
            features: Of the frame, seen so.
            target: The object.
            lost: Whether the object was not seen in the frame before.

        Returns:
            Guides float32 [H'/4, W'/4, 1] as the look sees them; None where nothing is told.
        """
        use = self._policy.guide
        if use == "none":
            return [None]
        previous = None
        if not lost:
            previous = look.upright(look.geometry.guide(target.previous))
        if use == "target" and target.model is not None:
            return [self._network.guide(features, target.model, previous)]
        if previous is None:
            return [None]
        # An object that no target model can tell is guided as without one.
        return [previous] if use == "previous" else [previous, None]

    def recall(self, features: Features, target: Target) -> Any:
        """Reads the memory of an object for a frame; None where the policy uses none."""
        if target.memory is None or not self._policy.recall:
            return None
        return self._network.read(features, *target.memory.contents())

    def remember(self, features: Features, target: Target) -> None:
        """Adds a frame to the memory of an object, when it is its turn and can be trusted.

        Args:
            features: Of the frame, upright.
            target: The object, updated to the frame.
        """
        config = self._config
        if target.memory is None or not config.memory or target.age % config.memory_every:
            return
        if target.confidence < config.trust or target.is_lost(config.threshold, config.lost):
            return
        mask = (target.previous > config.threshold).astype(np.float32)
        target.memory.add(features["key"], self._geometry.guide(mask))
