"""Photos that composed stand-ins are made of: cut-out objects and backgrounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import read_image
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.sprites import Sprite, list_images
from deeplab_gygo.synthesis.stills import StillObject, find_stills, limit_short_side
from standins.dataset import Clip

# Photos of ECSSD, which has no labels, by the category of their whole, clearly bounded object.
_CATEGORIES = {
    "car": "0039 0525 0592 0594 0723 0874 0944 0950 0954 0962 0972 0978 0986",
    "bus": "0438 0575 0729 0730 0746 0786 0808 0861 0905 0951",
    "person": "0086 0087 0111 0299 0305 0490 0509 0510 0776 0795 0800 0878 0942 0973 0985 0987",
    "deer": "0129 0155 0241 0253 0391 0394 0399 0688 0857",
    "dog": "0051 0143 0144 0168 0348 0362 0498 0500 0522 0593 0661 0958 0979",
    "bird": "0075 0281 0389 0398 0632 0738 0769 0781 0789 0842 0909 0928 0947",
    "cat": "0045 0083 0278 0430 0744 0868",
    "squirrel": "0152 0202 0231 0234 0260 0267 0392 0395 0645 0733",
    "butterfly": "0276 0323 0427 0480 0485 0930",
    "flower": "0282 0289 0293 0295 0298 0325 0346 0360 0361 0365 0368 0376 0384 0699",
    "statue": "0894 0895 0896 0899",
    "sign": "0307 0333 0334 0337 0342 0344",
    "vessel": "0445 0454 0703 0794 0837 0936 0994",
    "box": "0385 0412 0433 0752 0849",
}
_OTHER = "other"  # Category of all other photos, used where there are none of the above.

STEP = 6.0  # Frames of `synthesis.motion`, at 30 per second, between two frames at 5 per second.
_CACHE_BYTES = 256 << 20
_AREA = (0.05, 0.45)  # Of an object, as a share of its photo: enough pixels, and not a close-up.
_BORDER_PIXELS = 4  # On the border of the photo; more is an object that the border cuts.
_SOLID = 0.97  # Share of the largest connected component.
_SHORT_SIDE = 480


class Sources:
    """Objects of ECSSD and backgrounds below one folder.

    Args:
        data: Folder with `ecssd/images`, `ecssd/masks` and `backgrounds`.

    Attributes:
        categories: Stills of one whole object by their category.
    """

    def __init__(self, data: Path):
        self._cache = MemoryCache(_CACHE_BYTES)
        whole = [still for still in find_stills(data / "ecssd") if _is_whole(still.mask_path)]
        by_name = {still.name: still for still in whole}
        self.categories = {
            category: [by_name[name] for name in names.split() if name in by_name]
            for category, names in _CATEGORIES.items()
        }
        self.categories = {key: stills for key, stills in self.categories.items() if stills}
        if not self.categories and whole:
            self.categories = {_OTHER: whole}
        self._backgrounds = list_images(data / "backgrounds")
        if not self.categories or not self._backgrounds:
            raise InputError(
                "Composed clips need stills of whole objects and backgrounds",
                met=f"{len(whole)} stills, {len(self._backgrounds)} backgrounds",
                where=data,
            )

    def category(self, rng: np.random.Generator, among: tuple[str, ...] = ()) -> str:
        """Draws a category, one of some if any of these is there."""
        names = [name for name in self.categories if name in among] or list(self.categories)
        return names[int(rng.integers(len(names)))]

    def still(self, category: str, rng: np.random.Generator) -> StillObject:
        """Draws an object of a category."""
        members = self.categories[category]
        return members[int(rng.integers(len(members)))]

    def sprite(self, still: StillObject) -> Sprite:
        """Returns the cut-out of an object."""
        sprite = still.sprite(0, self._cache)
        assert sprite is not None, still.name  # Whole objects are not truncated.
        return sprite

    def photo(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a background, uint8 [H, W, 3] RGB."""
        path = self._backgrounds[int(rng.integers(len(self._backgrounds)))]
        return limit_short_side(read_image(path), _SHORT_SIDE)


def _is_whole(mask_path: Path) -> bool:
    """Checks that a mask is one object that the border of the photo does not cut."""
    mask = (read_mask(mask_path) > 0).astype(np.uint8)
    border = int(mask[0].sum() + mask[-1].sum()) + int(mask[:, 0].sum() + mask[:, -1].sum())
    if border > _BORDER_PIXELS or not _AREA[0] <= mask.mean() <= _AREA[1]:
        return False
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask)
    return bool(statistics[1:, cv2.CC_STAT_AREA].max() >= _SOLID * mask.sum())


def composed_clips(
    make: Callable[[Sources, int, np.ndarray, int], Clip],
    data: Path,
    count: int,
    frames: int,
    seed: int,
) -> Iterator[Clip]:
    """Composes clips.

    Args:
        make: `make(sources, index, times, seed) -> clip` with the photos, the number of the clip,
            and the times of its frames in frames of `synthesis.motion`.
        data: Folder with `ecssd` and `backgrounds`.
        count: Number of clips.
        frames: Frames of a clip.
        seed: Everything follows from it.

    Yields:
        The clips.
    """
    sources, times = Sources(data), np.arange(frames) * STEP
    for index in range(count):
        yield make(sources, index, times, seed)
