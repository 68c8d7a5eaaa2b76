"""Removal of what nobody uses any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from deeplab_gygo.errors import DeepLabGygoError
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.jobs import Job
from deeplab_gygo.server.settings import Limits
from deeplab_gygo.server.states import NotFound

IDLE_SECONDS = 3600.0
"""Least time without use after which a clip is removed."""

_DAY = 86400.0


def remove_old(
    engine: Engine,
    jobs: Iterable[Job],
    limits: Limits,
    size_of: Callable[[str], int],
    remove_job: Callable[[Job], None],
) -> None:
    """Removes finished jobs, and clips with their sessions, that are old or beyond a size.

    Those used longest ago are removed first; what is in use stays.

    Args:
        engine: Owner of clips and sessions.
        jobs: Finished jobs.
        limits: Ages and bytes.
        size_of: Returns the bytes of the files of a job, by its id.
        remove_job: Removes a job with its files.
    """
    jobs, now = list(jobs), time.time()
    idle = engine.idle_clips()
    sizes: dict[str, int] = {}
    if limits.keep_bytes:
        sizes = {job.id: size_of(job.id) for job in jobs}
        sizes |= {info.id: engine.clip_bytes(info.id) for info in engine.clips()}
    total = sum(sizes.values())
    known: list[tuple[float, float, str, Callable[[], None]]] = [
        (job.finished or 0, limits.keep_days, job.id, partial(remove_job, job)) for job in jobs
    ]
    known += [
        (used, limits.keep_clip_days, clip_id, partial(engine.delete_clip, clip_id))
        for clip_id, used in idle.items()
        if now - used > IDLE_SECONDS
    ]
    for used, days, identity, remove in sorted(known, key=lambda each: each[0]):
        is_old = days > 0 and used < now - days * _DAY
        if not is_old and not (limits.keep_bytes and total > limits.keep_bytes):
            continue
        try:
            remove()
        except NotFound:  # a clip that was removed with its job
            pass
        except DeepLabGygoError:  # in use meanwhile
            continue
        total -= sizes.get(identity, 0)
