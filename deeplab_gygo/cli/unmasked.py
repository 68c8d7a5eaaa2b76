"""A clip without a mask: what the parent alone segments, in the mode zero-shot."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from deeplab_gygo.runs.clip import Clip, source_hash


@dataclass(frozen=True)
class UnmaskedClip(Clip):
    """A sequence that is segmented from its first frame on, without being told the object.

    Attributes:
        sequence: The frames.
        start: Index of the first frame to segment.
        mask: None: there is none, and the segmenter is begun so.
        mask_source: Empty, for there is no file.
    """

    start: int = 0
    mask: None = None
    mask_source: str = ""

    @property
    def objects(self) -> int:
        """One: the parent alone does not tell objects apart."""
        return 1

    def hashes(self) -> dict[str, str]:
        """Returns the SHA-256 of the input and of the frame to start at, in hexadecimal."""
        absent = hashlib.sha256(np.array([self.start], np.int64).tobytes())
        return {"input": source_hash(self.sequence.source), "mask": absent.hexdigest()}
