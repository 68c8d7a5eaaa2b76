"""Close-ups: every frame is segmented once more in a window around what was found in it.

In the whole frame the network finds the objects; in the window it sees more of their outlines, at
the same number of pixels. Both stages run the same weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deeplab_gygo.inference.components import keep_supported
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.network import Features, ForwardPass
from deeplab_gygo.inference.object_state import ObjectState
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.inference.tracked_object import Annotated
from deeplab_gygo.inference.zoom import Window


class CloseUp:
    """Segments objects in a window around all of them.

    Args:
        network: Forward pass of the parent.
        config: Online options.
        geometry: Sizes of the frames; a window is enlarged to their working size.
        guide: Conditioning of the decoder, see `OnlineConfig.guide`.

    Attributes:
        geometry: Sizes of the enlarged windows.
    """

    def __init__(self, network: ForwardPass, config: OnlineConfig, geometry: Geometry, guide: str):
        view = geometry.working
        self.geometry = Geometry.fit(view, min(view), network.parent.stride)
        self._network, self._config = network, config
        self._whole = Window(geometry.frame, view)
        self._propagation = Propagation(network, config, self.geometry, guide)
        self._annotated: list[tuple[np.ndarray, Window]] = []

    def prepare(self, features: list[Features], tracked: ObjectState) -> None:
        """Begins to compile the program of a window ahead, on JAX; see `Propagation.prepare`."""
        self._propagation.prepare(features[: len(self._propagation.views)], tracked)

    def annotate(self, image: np.ndarray, inside: np.ndarray) -> None:
        """Chooses the window of an annotated frame.

        Args:
            image: uint8 [H, W, 3] RGB.
            inside: bool [H, W], where it shows an object.
        """
        self._annotated.append((image, self._whole.close_to(inside)))

    def seen(self, annotated: list[Annotated]) -> list[Annotated]:
        """Returns the windows of annotated frames, and their masks in these.

        Args:
            annotated: Images that were given to `annotate`, and masks uint8 [H, W], 0 or 1.

        Returns:
            Images uint8 [H', W', 3] RGB and masks uint8 [H', W'] at the working size.
        """
        windows = []
        for image, mask in annotated:
            window = next(window for known, window in self._annotated if known is image)
            windows.append((window.crop(image), window.crop_labels(mask)))
        return windows

    def refine(
        self,
        image: np.ndarray,
        planes: list[np.ndarray],
        objects: list[ObjectState],
        activate: Callable[[ObjectState], None],
    ) -> list[np.ndarray]:
        """Segments the objects of a frame in a window around all of them.

        Args:
            image: uint8 [H, W, 3] RGB.
            planes: What was found of every object in the whole frame, float32 [H, W] in 0..1.
            objects: The objects, as the previous frame left them.
            activate: Puts the weights of an object into the network.

        Returns:
            float32 [H, W] in 0..1 of every object, 0 outside the window; those given where there
            is nothing to enlarge.
        """
        window = self._whole.close_to(np.max(planes, axis=0) > self._config.threshold)
        if window.zoom == 1:
            return planes
        inputs, features = self._propagation.inputs([window.crop(image)]), None
        refined = []
        for plane, tracked in zip(planes, objects, strict=True):
            activate(tracked)
            if features is None or self._config.adapt == "full":
                features = [self._network.encode(view) for view in inputs]
            seen = ObjectState(
                tracked.label,
                window.crop(plane),
                memory=tracked.close_memory,
                target_model=tracked.target_model,
            )
            closer = window.paste(self._propagation.probability(features, seen))
            refined.append(keep_supported(closer, plane, self._config.threshold))
        return refined
