"""Clips whose video or masks are given as URLs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.io.scratch import scratch
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.io.storage import is_url, name_of, parent
from deeplab_gygo.runs.clip import Clip, open_clip
from deeplab_gygo.runs.given_masks import GivenMasks


def open_staged_clip(
    source: str | Path | Sequence, mask: GivenMasks | None, **options: Any
) -> Clip:
    """Opens a clip like `open_clip`, of local paths or URLs.

    Args:
        source: As in `open_clip`, or a URL. Its local copy stays as long as the sequence of the
            clip is referred to.
        mask: As in `open_clip`; paths, also those in `FRAME=FILE`, may be URLs.
        **options: As in `open_clip`.

    Raises:
        InputError: As in `open_clip`, or a URL leads to nothing that may be read.
        UsageError: As in `open_clip`.
        StorageError: What a URL leads to does not fit into the scratch folder, or the storage does
            not answer.
    """
    if not is_url(source):
        with local_masks(mask) as masks:
            return open_clip(source, masks, **options)
    lease = scratch().lease(str(source))
    try:
        with local_masks(mask, str(source), lease.path) as masks:
            clip = open_clip(lease.path, masks, **options)
    except BaseException:
        lease.close()
        raise
    clip.sequence.lease = lease
    return clip


@contextmanager
def local_masks(
    given: GivenMasks | None, source: str = "", copy: Path = Path()
) -> Iterator[GivenMasks | None]:
    """Yields masks as a user gave them, with local copies in the place of URLs.

    Args:
        given: The masks.
        source: URL of the frames. A mask in that folder is none of the frames.
        copy: Their local copy.
    """
    with ExitStack() as stack:

        def local(word: Any) -> Any:
            frame, equals, rest = str(word).partition("=")
            if isinstance(word, np.ndarray) or not (is_url(word) or is_url(rest)):
                return word
            url = word if is_url(word) else rest
            if copy.is_dir() and parent(url) == source.rstrip("/"):
                place = copy / name_of(url)
            else:
                place = stack.enter_context(scratch().local(url))
            return place if is_url(word) else f"{frame}{equals}{place}"

        if given is None or isinstance(given, (str, Path, np.ndarray)):
            yield local(given)
        elif isinstance(given, Mapping):
            yield {frame: local(mask) for frame, mask in given.items()}
        else:
            yield [local(word) for word in given]
