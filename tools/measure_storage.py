"""Measures how long the finished clips of a bucket take to be found and read.

A server of S3 (moto) runs on the loopback, in a process of its own: one core that answers every
request in Python. Records are as long as those of clips of 30 frames; a clip has one mask.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from deeplab_gygo.runs.remote_results import RemoteResults

BUCKET = "measured"
FRAMES = 30
RECORD = {
    "files": {f"masks/{index:05d}.png": [2000, "0" * 64] for index in range(FRAMES)},
    "frame_seconds": [0.1234] * FRAMES,
    "network_seconds": [0.1234] * FRAMES,
    "confidence": {f"{index:05d}": 0.9876 for index in range(FRAMES)},
    "masks": FRAMES,
}


def serve(port: int, counts: list[int]) -> None:
    """Serves a bucket with folders of finished clips, named by their numbers."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import run_simple

    backend, content = s3_backends[DEFAULT_ACCOUNT_ID]["aws"], json.dumps(RECORD).encode()
    backend.create_bucket(BUCKET, "us-east-1")
    for count in counts:
        for name in clip_names(count):
            backend.put_object(BUCKET, f"{count}/{name}/masks/00000.png", b"mask")
            backend.put_object(BUCKET, f"{count}/{name}/run.json", content)
    app = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", port, app, threaded=True)


def clip_names(count: int) -> list[str]:
    """Returns the names of the clips of a folder."""
    return [f"clip-{index:06d}" for index in range(count)]


@contextmanager
def s3_server(counts: list[int]) -> Iterator[int]:
    """Runs `serve` in a process of its own; yields its number."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, __file__, "--serve", str(port), "--clips", *map(str, counts)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    try:
        while server.poll() is None:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield server.pid
    finally:
        server.terminate()
        server.wait()


def measure(count: int, server: int) -> dict[str, object]:
    """Reads the finished clips of a folder.

    Args:
        count: Number of clips.
        server: Process of the server.

    Returns:
        Of reading all clips, of reading those with given names, and of asking for as many that are
        absent: wall time, CPU time of this process and of the server, seconds; and the largest
        memory of this process, MB.
    """
    results = RemoteResults(f"s3://{BUCKET}/{count}")
    names, absent = clip_names(count), [f"absent-{index}" for index in range(count)]
    rows: dict[str, object] = {"clips": count}
    for key, wanted, expected in (
        ("all", None, count), ("named", names, count), ("absent", absent, 0),
    ):  # fmt: skip
        clocks: list[Callable[[], float]] = [
            time.monotonic, time.process_time, lambda: cpu_seconds(server)
        ]  # fmt: skip
        before = [clock() for clock in clocks]
        found = sum(1 for _ in results.records(wanted))
        after = [clock() for clock in clocks]
        if found != expected:
            raise RuntimeError(f"{found} of {expected} clips")
        seconds = [round(end - start, 2) for start, end in zip(before, after, strict=True)]
        rows[key] = dict(zip(("wall", "cpu", "server_cpu"), seconds, strict=True))
    rows["memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    return rows


def cpu_seconds(process: int) -> float:
    """Returns the CPU time of another process so far, on Linux."""
    values = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Prints a line of JSON for every number of clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[2000, 20000], metavar="N")
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the server")
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.clips)
        return
    with s3_server(options.clips) as server:
        for count in options.clips:
            print(json.dumps(measure(count, server)), flush=True)


if __name__ == "__main__":
    main()
