"""A worker process without a network, for tests of what drives it.

A session is propagated by copying its first annotation; the frame at which something happens is
in the environment of the process that starts it.
"""

import os
import time

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.inference.session_folder import SessionFolder, digest_of
from deeplab_gygo.server.clips import open_sequence
from deeplab_gygo.server.sessions import encoded_mask
from deeplab_gygo.server.worker import Pace, Worker

DIE_ONCE = "SCRIPTED_DIE_ONCE"
"""Variable that names a file: the process ends at frame 2, unless the file exists already."""

WAIT = "SCRIPTED_WAIT"
"""Variable that names a file: frame 3 waits until it exists."""


class Script:
    """Stands for `server.tasks.Tasks`."""

    def __init__(self, worker):
        self.worker, self.prefetched = worker, 0

    def answer(self, question, values):
        if question == "die":
            os._exit(9)
        if question == "refuse":
            raise InputError("A rule", met="a value", where="/secret/path", remedy="A remedy")
        if question == "break":
            raise RuntimeError("/secret/path")
        if question == "prefetch":
            self.prefetched = values["index"]
        return encoded_mask(np.eye(8, dtype=np.uint8) * np.uint8(1 + self.prefetched))

    def do(self, task):
        values = task.values
        count = len(open_sequence(*values["clip"]))
        pace = Pace(self.worker.send, count, "propagation")
        if task.kind == "propagate":
            files = SessionFolder(values["folder"])
            first = files.annotated()[0]
            mask = files.annotation(first)
        for index in range(count):
            self._happen(index)
            if task.kind == "propagate":
                confidence = 0.5 if index == 1 else 0.99
                probability = (mask != 0).astype(np.float32)
                prediction = Prediction(index, str(index), probability, mask, 0.0, confidence)
                files.results.put(prediction, None)
                self.worker.send("frame", index, confidence)
            pace.framed()
            self.worker.between()
        if task.kind == "propagate":
            files.finish({first: digest_of(mask)}, range(count))
        else:
            values["out"].mkdir(parents=True)
            (values["out"] / "run.json").write_text("{}")

    def _happen(self, index):
        once = os.environ.get(DIE_ONCE)
        if once and index == 2 and not os.path.exists(once):
            with open(once, "w"):
                os._exit(9)
        wait = os.environ.get(WAIT)
        while wait and index == 3 and not os.path.exists(wait):
            self.worker.between()
            time.sleep(0.01)


def main(link, settings):
    """Runs in the process."""
    if settings.weights is not None and settings.weights.name == "absent":
        link.send(("failed", {"rule": "Weights exist", "met": "no such file", "remedy": ""}))
        return
    if settings.weights is not None and settings.weights.name == "broken":
        os._exit(3)
    worker = Worker(link, settings)
    link.send(("ready",))
    try:
        worker.serve(Script(worker))
    except (EOFError, OSError):
        return
