#!/usr/bin/env python
"""Measures the server: answers under load while a job runs, kills at random moments, its start.

    python tools/measure_server.py status --out out/server_status.json
    python tools/measure_server.py kills --kills 10 --jobs 20 --out out/server_kills.json
    python tools/measure_server.py start --out out/server_start.json

`status` runs a job alone, again while clients ask for its state, and again while the same clients
ask a server that does nothing, which shows what the clients themselves cost on the same cores.
`kills` sends SIGKILL to the server and its worker at random moments while jobs wait, starts them
again, and looks for jobs that are lost or done twice and for results that are not whole. `start`
takes the time from the command to the first answers. All use the clip and the network that the
package has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.io.video import VideoWriter
from deeplab_gygo.server.client import Client, JobStatus, ServerError

DEMO = Path(__file__).parents[1] / "deeplab_gygo" / "cli" / "demo_clip"


class Server:
    """The command `serve` as a process of its own.

    Args:
        data: Folder of the data.
        words: Further options.
    """

    def __init__(self, data: Path, *words: str):
        self._data, self._words, self._log = data, words, data.with_suffix(".log")
        self._process: subprocess.Popen[str] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts it; returns when it prints its address."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deeplab_gygo", "serve", "--port", str(self._port),
             "--data", str(self._data), *self._words],
            stdout=subprocess.PIPE, stderr=open(self._log, "a"), text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the server did not start: {self._log.read_text()[-2000:]}")

    def stop(self, number: int = signal.SIGTERM, *, whole: bool = False) -> None:
        """Ends it by a signal, `whole` with its worker, as a container that is killed."""
        assert self._process is not None
        if whole:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        self._process.wait(60)

    def wait_until_ready(self) -> None:
        """Waits until the network is loaded."""
        while True:
            try:
                Client(self.address, token="")._requests.content("GET", "/readyz")
                return
            except ServerError:
                time.sleep(0.1)


@contextmanager
def running(data: Path, *words: str):
    """Yields a server, and ends it."""
    server = Server(data, *words)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def demo_clip(folder: Path) -> tuple[Path, Path]:
    """Returns the demo clip as a zip, and its first mask."""
    path = folder / "demo.zip"
    frames = sorted((DEMO / "frames").iterdir())
    with zipfile.ZipFile(path, "w") as archive:
        for frame in frames:
            archive.write(frame, frame.name)
    return path, sorted((DEMO / "masks").iterdir())[0]


def small_clip(folder: Path, frames: int) -> tuple[Path, Path]:
    """Makes a clip of a square that moves, and its first mask."""
    mask = np.zeros((96, 128), np.uint8)
    mask[30:66, 20:60] = 1
    with VideoWriter(folder / "small.mp4", mask.shape, frame_rate=10) as writer:
        for index in range(frames):
            image = np.full((*mask.shape, 3), 70, np.uint8)
            image[np.roll(mask, 2 * index, 1) > 0] = (230, 200, 40)
            writer.write(cv2.GaussianBlur(image, (5, 5), 0))
    write_mask(folder / "small.png", mask)
    return folder / "small.mp4", folder / "small.png"


def measure_status(options: argparse.Namespace) -> dict:
    """Measures the answers to clients while a job runs, and the job with and without them."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as place:
        clip, mask = demo_clip(Path(place))
        with running(Path(place) / "data") as server:
            server.wait_until_ready()
            client = Client(server.address, token="")

            def run_job() -> JobStatus:
                job = client.start_job(clip, mask, preset=options.preset, outputs=["masks"])
                return job

            seconds, times, codes = {"alone": [], "clients": [], "asked": []}, [], Counter()
            asking = cpu = 0.0
            own_cpu, own_answers = 0.0, 0
            idle_address = stack.enter_context(idle_server())
            _seconds_of(client, run_job())  # warms up
            for _ in range(options.repeats):
                for kind in seconds:
                    job, ignored = run_job(), []
                    stop = threading.Event()
                    given = (server.address, job.id, options, stop, times, codes)
                    if kind == "clients":
                        given = (idle_address, job.id, options, stop, ignored, Counter())
                    thread = threading.Thread(target=_ask, args=given)
                    began, cpu_before = time.perf_counter(), _cpu_seconds(client)
                    own_before = time.process_time()
                    if kind != "alone":
                        thread.start()
                    seconds[kind].append(_seconds_of(client, job))
                    stop.set()
                    if kind != "alone":
                        thread.join()
                    if kind == "asked":
                        asking += time.perf_counter() - began
                        cpu += _cpu_seconds(client) - cpu_before
                    if kind == "clients":
                        own_cpu += time.process_time() - own_before
                        own_answers += len(ignored)
    alone, clients, asked = (float(np.median(found)) for found in seconds.values())
    return {
        "clients": options.clients, "wanted_per_second": options.rate,
        "answers": len(times), "statuses": dict(codes),
        "per_second": round(len(times) / asking, 1),
        "cpu_milliseconds_per_answer": round(1000 * cpu / len(times), 3),
        "milliseconds": {
            f"p{p:g}": round(1000 * float(np.percentile(times, p)), 2) for p in (50, 95, 99, 99.9)
        },
        "job_seconds": seconds, "slowdown": asked / alone - 1,
        "slowdown_by_the_clients_alone": clients / alone - 1,
        "slowdown_by_the_server": asked / clients - 1,
        "cpu_milliseconds_per_answer_of_the_clients": round(1000 * own_cpu / own_answers, 3),
    }  # fmt: skip


@contextmanager
def idle_server():
    """Yields the address of a server that gives every request the same answer, unread."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=_answer_alike, args=(port,))
    process.start()
    try:
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def _answer_alike(port: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n" + 400 * b" "

    class Answering(asyncio.Protocol):
        def connection_made(self, transport):
            self._transport = transport

        def data_received(self, data):
            self._transport.write(answer)

    async def serve() -> None:
        made = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
        await made.serve_forever()

    asyncio.run(serve())


def _cpu_seconds(client: Client) -> float:
    """Returns the CPU time of the HTTP process."""
    text = client._requests.content("GET", "/metrics").decode()
    return float(text.partition("\nprocess_cpu_seconds_total ")[2].split()[0])


def _seconds_of(client: Client, job: JobStatus) -> float:
    """Returns the seconds of a job by the clock of the server."""
    status = client.wait(job.id, interval=0.5)
    return float(status.finished or 0) - float(status.started or 0)


def _ask(address, job_id, options, stop, times, codes) -> None:
    """Asks for the state of a job until an event stops it, on connections that are kept."""
    host, _, port = address.removeprefix("http://").rstrip("/").partition(":")
    request = f"GET /api/jobs/{job_id} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()

    async def client(number: int) -> None:
        interval = options.clients / options.rate
        reader, writer = await asyncio.open_connection(host, int(port))
        next_time = time.perf_counter() + interval * number / options.clients
        while not stop.is_set():
            await asyncio.sleep(max(0.0, next_time - time.perf_counter()))
            # From the time at which it was due: a slow answer delays those after it.
            due, next_time = next_time, next_time + interval
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
            times.append(time.perf_counter() - due)
            codes[head.split()[1].decode()] += 1
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(client(number) for number in range(options.clients)))

    asyncio.run(run())


def measure_kills(options: argparse.Namespace) -> dict:
    """Kills the server at random moments while jobs wait, and looks at what became of them."""
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        clip, mask = small_clip(Path(place), options.frames)
        data = Path(place) / "data"
        server = Server(data, "--max-jobs", str(options.jobs), "--keep-days", "0")
        server.start()
        accepted: dict[str, list[tuple]] = {}
        kills, faults = [], Counter()
        client = Client(server.address, token="", patience=120)
        info = client.upload(clip)
        # Some kills come while jobs are accepted, the others while they run.
        moments = chance.sample(range(options.jobs), options.kills // 3)
        for index in range(options.jobs):
            killer = threading.Timer(chance.uniform(0, 0.1), _kill, [server])
            if index in moments:
                kills.append(f"while job {index} is sent, without the worker")
                killer.start()
            # Asked for again after the restart where the answer is lost, under the same key.
            job = client.start_job(info, mask, preset="fast", mode="one-shot", outputs=["masks"])
            accepted[job.id] = []
            if index in moments:
                killer.join()
        while len(kills) < options.kills:
            if chance.random() < 0.8:
                server.wait_until_ready()
            time.sleep(chance.uniform(0, options.seconds))
            _look(Client(server.address, token="", patience=0), accepted, faults, Path(place))
            states = dict(Counter(history[-1][0] for history in accepted.values() if history))
            whole = chance.random() < 0.5
            server.stop(signal.SIGKILL, whole=whole)
            kills.append(f"{states}, {'with' if whole else 'without'} the worker")
            server.start()
        client = Client(server.address, token="")
        while any(not job.has_ended for job in client.jobs()):
            time.sleep(0.5)
        _look(client, accepted, faults, Path(place))
        jobs = {job.id: job for job in client.jobs()}
        server.stop()
        lost = [job_id for job_id in accepted if job_id not in jobs]
        states = Counter(jobs[job_id].state for job_id in accepted if job_id in jobs)
        return {
            "kills": kills, "accepted": len(accepted), "lost": len(lost), "states": dict(states),
            "attempts": Counter(job.attempts for job in jobs.values()),
            "unknown": len(set(jobs) - set(accepted)), "done_twice": faults["done twice"],
            "whole_results": faults["whole"], "half_results": faults["half"],
        }  # fmt: skip


def _kill(server: Server) -> None:
    server.stop(signal.SIGKILL)
    server.start()


def _look(client: Client, accepted: dict[str, list[tuple]], faults: Counter, place: Path) -> None:
    """Notes state and end of all jobs, and reads what is served of them."""
    try:
        jobs = {job.id: job for job in client.jobs()}
    except ServerError:
        return
    for job_id, history in accepted.items():
        job = jobs.get(job_id)
        now = ("lost", None) if job is None else (job.state, job.finished)
        if history and history[-1][0] == "done" and history[-1] != now:
            faults["done twice"] += 1  # its end is another
        history.append(now)
        try:
            path = client.save_result(job_id, place / "result.zip")
        except ServerError as error:
            faults["half"] += error.status == 0
            continue
        with zipfile.ZipFile(path) as archive:
            record = json.loads(archive.read("run.json"))
            masks = sum(name.startswith("masks/") for name in archive.namelist())
            is_whole = archive.testzip() is None and masks == record["masks"]
        faults["whole" if is_whole and now[0] == "done" else "half"] += 1


def measure_start(options: argparse.Namespace) -> dict:
    """Takes the time from the command to the first answer, a first frame and the network."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        clip, _ = demo_clip(Path(place))
        data = Path(place) / "data"
        with running(data) as server:
            info = Client(server.address, token="").upload(clip)
        for _ in range(options.repeats):
            started = time.perf_counter()
            with running(data) as server:
                client = Client(server.address, token="")
                row = {"address": time.perf_counter() - started}
                client._requests.content("GET", "/")
                row["page"] = time.perf_counter() - started
                client.frame(info.id, 0, 800)
                row["frame"] = time.perf_counter() - started
                server.wait_until_ready()
                row["network"] = time.perf_counter() - started
            rows.append(row)
    return {name: round(float(np.median([row[name] for row in rows])), 2) for name in rows[0]}


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("status", "kills", "start"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=6.0, help="longest time to a kill")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    measure = {"status": measure_status, "kills": measure_kills, "start": measure_start}
    load = os.getloadavg()
    result = {"load_before": load, **measure[options.what](options), "load_after": os.getloadavg()}
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
