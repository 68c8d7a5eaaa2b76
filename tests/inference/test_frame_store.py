"""Predictions kept on disk, and their writing beside the segmentation."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from deeplab_gygo.inference.frame_store import FrameStore, StoreWriter
from deeplab_gygo.inference.prediction import Prediction


def prediction(index: int) -> Prediction:
    probability = np.random.default_rng(index).random((6, 8), np.float32)
    mask = (probability > 0.5).astype(np.uint8)
    return Prediction(index, f"{index:05d}", probability, mask, 0.25, 0.75)


def test_all_is_written_when_the_writer_is_closed(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    writer = StoreWriter(store)
    for index in range(3):
        writer.put(prediction(index), {"value": np.array(index)})
    writer.close()
    assert store.indices() == {0, 1, 2}
    assert store.state()["value"] == 2
    found, given = store.prediction(1, "00001"), prediction(1)
    assert np.abs(found.probability - given.probability).max() <= 0.5 / 255 + 1e-6
    assert (found.mask == given.mask).all()
    assert (found.confidence, found.seconds) == (0.75, 0.25)


def test_the_next_frame_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch) -> None:
    store, may_write = FrameStore(tmp_path), threading.Event()
    put = store.put
    monkeypatch.setattr(store, "put", lambda *given: may_write.wait(5) and put(*given))
    writer = StoreWriter(store)
    writer.put(prediction(0), None)
    assert not store.holds(0)
    may_write.set()
    writer.close()
    assert store.holds(0)


@pytest.mark.parametrize("end", ["put", "close"])
def test_an_error_of_writing_is_raised(tmp_path: Path, monkeypatch, end: str) -> None:
    store = FrameStore(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(store, "put", fail)
    writer = StoreWriter(store)
    writer.put(prediction(0), None)
    with pytest.raises(OSError, match="no space"):
        writer.put(prediction(1), None) if end == "put" else writer.close()
