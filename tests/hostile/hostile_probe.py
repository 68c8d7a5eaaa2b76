"""Reads hostile and mutated files in a process that watches itself; prints what happened as JSON.

    python hostile_probe.py FOLDER MUTATIONS

An audit hook notes every module that is imported, every process that is started, every connection
and every file that is opened outside of FOLDER and the installation.
"""

import json
import logging
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools")]

from fuzz_examples import EXAMPLES, WORDS  # noqa: E402
from fuzz_targets import TARGETS, run_target  # noqa: E402
from hostile_files import HOSTILE  # noqa: E402

# The package's own notes are no noise of a library.
logging.getLogger("deeplab_gygo").addHandler(logging.NullHandler())

STARTS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.")
LIMIT_SECONDS = 20
CONNECTS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.", "ftplib.", "smtplib.")


class Watch:
    """Notes what the process does while it is on."""

    def __init__(self, folder):
        self.inside = tuple(
            os.path.realpath(p) + os.sep
            for p in (folder, HERE.parents[1], sys.prefix, sys.base_prefix)
        )
        self.known = {name.partition(".")[0] for name in sys.modules}
        self.on, self.seen = False, set()
        sys.addaudithook(self.hear)

    def hear(self, event, arguments):
        if not self.on:
            return
        if event == "import":
            if arguments[0].partition(".")[0] not in self.known:
                self.seen.add(f"imports {arguments[0]}")
        elif event.startswith(STARTS):
            self.seen.add(f"starts {arguments[0]!r}")
        elif event.startswith(CONNECTS):
            self.seen.add(f"connects {arguments!r}"[:200])
        elif event in ("open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate"):
            path = arguments[0]
            if isinstance(path, (str, bytes, os.PathLike)):
                self.on = False
                real = os.path.realpath(os.fsdecode(path))
                self.on = True
                # The device is what a case links to; opening it is refused by its kind.
                if not (real + os.sep).startswith(self.inside) and real not in (
                    "/dev/null", "/dev/zero", "/dev/urandom",
                ):  # fmt: skip
                    self.seen.add(f"opens {real}")


def hangs(number, frame):
    """Ends a read that takes too long."""
    raise TimeoutError(f"not ended after {LIMIT_SECONDS} s")


def mutate(data, words, rng):
    """Returns bytes with a few changes."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place : place + rng.randint(1, 40)]
        elif kind == 2:
            data[place:place] = data[place : place + rng.randint(1, 60)] * rng.randint(1, 4)
        elif kind == 3:
            data[place:place] = rng.choice(words or [""]).encode()
        elif kind == 4:
            data[place : place + 4] = rng.choice([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
        else:
            data[place:place] = rng.randbytes(rng.randint(1, 8))
    return bytes(data)


def main(folder, mutations):
    """Reads every file and prints one JSON object per line."""
    # A reader that floods fails here and not on the machine.
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 30, 2 << 30))
    os.chdir(folder)
    planted = folder / "planted_module.py"
    planted.write_text("open('executed', 'w').close()\nclass Planted: pass\n")
    sys.path.insert(0, str(folder))
    for target, examples in EXAMPLES.items():  # imports what the readers need
        for number, data in enumerate(examples()):
            place = folder / f"example-{target}-{number}"
            place.mkdir()
            run_target(target, place, data)
    (folder / "planted.mp4").write_bytes(EXAMPLES["video"]()[0])
    watch = Watch(folder)
    signal.signal(signal.SIGALRM, hangs)

    def read(case, target, place, data):
        watch.seen = set()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, error = time.process_time(), None
        watch.on = True
        signal.alarm(LIMIT_SECONDS)
        try:
            error = run_target(target, place, data)
        except BaseException as problem:
            watch.seen.add(f"raises {type(problem).__name__}: {problem}"[:300])
        signal.alarm(0)
        watch.on = False
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        seconds = round(time.process_time() - started, 3)
        text = str(error)[:400] if error else None
        status = error.exit_status if error else 0
        print(json.dumps({
            "case": case, "error": text, "status": status, "seconds": seconds, "megabytes": grown,
            "seen": sorted(watch.seen),
        }), flush=True)  # fmt: skip

    for case, (target, build) in HOSTILE.items():
        place = folder / case.replace(" ", "-") / "in"
        place.mkdir(parents=True)
        path = place / TARGETS[target][0]
        (place / "planted.mp4").write_bytes((folder / "planted.mp4").read_bytes())
        data = build(path)
        read(case, target, place, data)
    for target, examples in EXAMPLES.items():
        rng = random.Random(target)
        place = folder / f"mutated-{target}"
        place.mkdir()
        made = examples()
        for number in range(mutations):
            data = mutate(rng.choice(made), WORDS.get(target), rng)
            sub = place / str(number)
            sub.mkdir()
            read(f"mutated {target} {number}", target, sub, data)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
