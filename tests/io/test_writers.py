import errno
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io.masks import davis_palette, read_mask
from deeplab_gygo.io.overlay import overlay
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.io.writers import ThreadedWriter, file_of, write_png, write_soft_mask

SIZE = (48, 64)


def disc(x: int, y: int, radius: int, label: int = 1) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (x, y), radius, label, -1)
    return mask


def picture(value: int = 90) -> np.ndarray:
    return np.full((*SIZE, 3), value, np.uint8)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestThreadedWriter:
    class Recorder(ThreadedWriter):
        def __init__(self, task, depth=2):
            super().__init__("results", depth)
            self.task = task

        def write(self, *arguments):
            self.submit(self.task, *arguments)

    def test_keeps_the_order(self):
        seen = []
        with self.Recorder(seen.append) as writer:
            for number in range(50):
                writer.write(number)
        assert seen == list(range(50))

    def test_queue_is_bounded(self):
        gate, seen = threading.Event(), []

        def slow(number):
            gate.wait(5)
            seen.append(number)

        with self.Recorder(slow, depth=2) as writer:
            for number in range(3):  # one at work, two in line
                writer.write(number)
            blocked = threading.Thread(target=writer.write, args=(3,))
            blocked.start()
            blocked.join(0.3)
            assert blocked.is_alive()
            gate.set()
            blocked.join(5)
        assert seen == [0, 1, 2, 3]

    def test_error_surfaces_and_never_blocks(self):
        def fail(number):
            raise StorageError("disk full", met=number)

        writer = self.Recorder(fail, depth=1)
        with pytest.raises(StorageError, match="met: 0"):
            for number in range(100):
                writer.write(number)
        with pytest.raises(UsageError):
            writer.write(0)

    def test_error_of_the_last_task_surfaces_at_the_end(self):
        def fail():
            raise OSError(errno.ENOSPC, "No space left on device", "last.png")

        writer = self.Recorder(fail)
        with pytest.raises(StorageError, match="last.png"):
            with writer:
                writer.write()

    def test_error_of_the_body_cancels_waiting_tasks(self):
        seen, started, gate = [], threading.Event(), threading.Event()

        def slow(number):
            started.set()
            gate.wait(5)
            seen.append(number)

        with pytest.raises(RuntimeError), self.Recorder(slow, depth=5) as writer:
            for number in range(5):
                writer.write(number)
            assert started.wait(5)
            threading.Timer(0.2, gate.set).start()
            raise RuntimeError
        assert seen == [0]

    @pytest.mark.parametrize("where", ["body", "end"])
    def test_nothing_is_written_after_interrupts(self, where):
        """Two signals, the second during the wait that the first one began."""
        seen, main = [], threading.main_thread().ident
        timers = [
            threading.Timer(seconds, signal.pthread_kill, [main, signal.SIGINT])
            for seconds in (0.05, 0.1)
        ]

        def slow(number):
            time.sleep(0.15)
            seen.append(number)

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                with self.Recorder(slow, depth=5) as writer:
                    for number in range(4):
                        writer.write(number)
                    for timer in timers:
                        timer.start()
                    if where == "body":
                        time.sleep(5)
            assert len(seen) == 1  # the one that was being written
            time.sleep(0.2)
            assert len(seen) == 1
        finally:
            for timer in timers:
                timer.join()
            signal.signal(signal.SIGINT, before)

    def test_the_wait_for_the_running_task_has_a_limit(self, monkeypatch):
        monkeypatch.setattr("deeplab_gygo.io.writers.ABORT_SECONDS", 0.05)
        gate = threading.Event()
        with pytest.raises(RuntimeError), self.Recorder(lambda: gate.wait(10)) as writer:
            writer.write()
            raise RuntimeError
        gate.set()


class TestMasks:
    def test_palette_and_names(self, tmp_path):
        masks = {"00000": disc(20, 20, 9), "00007": disc(30, 24, 8, label=3)}
        with ThreadedWriter(tmp_path) as writer:
            for name, mask in masks.items():
                writer.submit(write_mask, file_of(tmp_path / "masks", name, ".png"), mask)
        assert names_in(tmp_path / "masks") == ["00000.png", "00007.png"]
        for name, mask in masks.items():
            with Image.open(tmp_path / "masks" / f"{name}.png") as file:
                assert file.mode == "P"
                assert (np.array(file) == mask).all()
                stored = np.array(file.getpalette()).reshape(-1, 3)
                assert (stored[:4] == davis_palette()[:4]).all()

    @pytest.mark.parametrize("name", ["", "..", "../outside", "a/b", "/etc/passwd"])
    def test_names_stay_inside(self, tmp_path, name):
        with pytest.raises(InputError):
            file_of(tmp_path / "masks", name, ".png")

    def test_wrong_array_surfaces(self, tmp_path):
        with pytest.raises(InputError), ThreadedWriter(tmp_path) as writer:
            writer.submit(write_mask, tmp_path / "00000.png", np.zeros(SIZE, np.float32))

    def test_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "masks").touch()
        with pytest.raises(StorageError, match="00000.png"):
            with ThreadedWriter(tmp_path) as writer:
                writer.submit(write_mask, tmp_path / "masks" / "00000.png", disc(9, 9, 3))


class TestProbabilities:
    def test_probability_survives_within_rounding(self, tmp_path):
        probability = np.random.default_rng(0).random(SIZE, dtype=np.float32)
        probability[0, :2] = 0, 1
        write_soft_mask(tmp_path, "a", probability)
        stored = np.array(Image.open(tmp_path / "a.png"))
        assert stored.dtype == np.uint8 and stored[0, 0] == 0 and stored[0, 1] == 255
        assert np.abs(stored / 255 - probability).max() <= 0.5 / 255 + 1e-6

    def test_objects_get_folders_of_their_ids(self, tmp_path):
        planes = np.stack([np.full(SIZE, 0.2, np.float32), np.full(SIZE, 0.8, np.float32)])
        write_soft_mask(tmp_path, "a", planes, [2, 5])
        assert names_in(tmp_path) == ["2", "5"]
        assert np.array(Image.open(tmp_path / "5" / "a.png"))[0, 0] == 204

    def test_cutout_mask_can_be_read_back(self, tmp_path):
        write_png(tmp_path / "a.png", np.dstack([picture(), 255 * disc(20, 20, 9)]))
        assert (read_mask(tmp_path / "a.png") == disc(20, 20, 9)).all()

    def test_probabilities_must_be_fractions(self, tmp_path):
        with pytest.raises(InputError):
            write_soft_mask(tmp_path, "a", np.zeros(SIZE, np.uint8))


class TestOverlay:
    def test_background_is_untouched_and_object_tinted(self):
        image, mask = picture(), disc(30, 24, 10)
        result = overlay(image, mask)
        near = cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0
        assert (result[~near] == 90).all()
        inside = result[24, 30].astype(int)
        assert inside[0] > 90 and inside[1] < 90
        assert (image == 90).all()
        assert (overlay(image, np.zeros(SIZE, np.uint8)) == image).all()

    def test_objects_differ_and_void_is_untouched(self):
        mask = disc(12, 12, 8) | disc(45, 30, 9, label=2)
        mask[40:, :10] = 255
        result = overlay(picture(), mask)
        assert (result[12, 12] != result[30, 45]).any()
        assert (result[45, 2] == 90).all()

    def test_color_of_an_object_does_not_depend_on_the_others(self):
        alone = overlay(picture(), disc(12, 12, 8), several=True)
        both = overlay(picture(), disc(12, 12, 8) | disc(45, 30, 9, label=2), several=True)
        assert (alone[12, 12] == both[12, 12]).all()

    def test_sizes_must_agree(self):
        with pytest.raises(InputError):
            overlay(picture(), np.zeros((4, 4), np.uint8))
