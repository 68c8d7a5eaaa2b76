"""The HTTP API without a network: a disk that moves over a gray ground, and its exact masks."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from PIL import Image

import deeplab_gygo
from deeplab_gygo.runs.output_kinds import OUTPUTS

PAGE = Path(deeplab_gygo.__file__).parent / "server" / "page"
WIDTH, HEIGHT, RADIUS = 640, 360, 60
CSP = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def disk(index: int, radius: int = RADIUS) -> np.ndarray:
    """The exact mask of a frame, uint8 [HEIGHT, WIDTH]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((x - center(index)[0]) ** 2 + (y - 180) ** 2 <= radius**2).astype(np.uint8)


def center(index: int) -> tuple[int, int]:
    """The center of the disk."""
    return 120 + index % 25 * 16, 180


def picture(index: int) -> np.ndarray:
    """A frame, uint8 [HEIGHT, WIDTH, 3]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frame = np.stack([90 + x // 8, 100 + y // 6, 120 + 0 * x], -1).astype(np.uint8)
    frame[(x // 40 + y // 40) % 2 == 0] -= 12
    frame[disk(index) > 0] = (214, 118, 60)
    return frame


def png(mask: np.ndarray) -> bytes:
    """An 8-bit palette PNG of ids."""
    image = Image.fromarray(mask)
    image.putpalette([v for i in range(256) for v in (i, 255 - i, 40)])
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


class Mock:
    """State of the one session."""

    def __init__(self, frames: int, seconds: float):
        self.frames, self.seconds = frames, seconds
        self.annotations: dict[int, np.ndarray] = {}
        self.results: dict[int, np.ndarray] = {}
        self.confidence: list[float | None] = [None] * frames
        self.objects: list[dict[str, Any]] = []
        self.revision, self.state, self.stopped, self.anew = 0, "idle", False, False
        self.fail_saves = self.fail_strokes = 0
        self.progress: dict[str, Any] | None = None
        self.strokes: list[Any] = []
        self.exported: list[Any] = []
        self.listeners: list[asyncio.Queue[tuple[str, Any]]] = []
        self.task: asyncio.Task[None] | None = None

    def clip(self) -> dict[str, Any]:
        return {
            "id": "clip", "name": "disk.mp4", "frames": self.frames, "width": WIDTH,
            "height": HEIGHT, "frame_rate": 25.0, "pixel_aspect": 1.0,
        }  # fmt: skip

    def session(self) -> dict[str, Any]:
        doubtful = [i for i, c in enumerate(self.confidence) if c is not None and c < 0.6]
        return {
            "id": "s", "clip": "clip", "preset": "fast", "mode": "fine-tune",
            "objects": self.objects, "annotated": sorted(self.annotations),
            "confidence": self.confidence, "doubtful": doubtful, "revision": self.revision,
            "state": self.state, "progress": self.progress, "error": None,
        }  # fmt: skip

    def send(self, event: str, data: Any) -> None:
        for queue in self.listeners:
            queue.put_nowait((event, data))

    async def run(self) -> None:
        todo = [i for i in range(self.frames) if i not in self.annotations]
        for done, index in enumerate(todo):
            if self.stopped:
                break
            await asyncio.sleep(self.seconds)
            self.results[index] = disk(index, RADIUS - 8 * (index % 10 == 7))
            self.confidence[index] = 0.4 if index % 10 == 7 else 0.9 + 0.09 * np.sin(index)
            self.progress = {
                "done": done + 1, "total": len(todo), "seconds": self.seconds * (done + 1),
                "frames_per_second": 1 / self.seconds, "eta": self.seconds * (len(todo) - done - 1),
            }  # fmt: skip
            self.send("frame", {"index": index, "confidence": self.confidence[index]})
            self.send("progress", self.progress)
        self.state, self.progress = "idle", None
        self.send("state", {"state": self.state})


def make_app(frames: int = 25, seconds: float = 0.03) -> FastAPI:
    """Makes the application; `app.state.mock` is what it holds."""
    app = FastAPI()
    mock = app.state.mock = Mock(frames, seconds)

    @app.middleware("http")
    async def headers(request: Request, call: Any) -> Response:
        response = await call(request)
        response.headers["Content-Security-Policy"] = CSP
        return response

    @app.get("/api/info")
    def info() -> Any:
        return {
            "version": "0", "presets": ["fast", "balanced", "best"],
            "modes": ["zero-shot", "one-shot", "fine-tune"],
            "outputs": list(OUTPUTS), "limits": {},
        }  # fmt: skip

    @app.get("/api/clips")
    def clips() -> Any:
        return [mock.clip()]

    @app.get("/api/sessions")
    def sessions() -> Any:
        return [mock.session()]

    @app.post("/api/sessions/s/prefetch", status_code=202)
    def prefetch() -> Any:
        return {}

    @app.get("/api/clips/{clip}")
    def clip(clip: str) -> Any:
        return mock.clip()

    @app.get("/api/clips/{clip}/frames/{index}")
    def frame(clip: str, index: int, width: int = WIDTH) -> Response:
        image = Image.fromarray(picture(index))
        image = image.resize((width, round(HEIGHT * width / WIDTH)))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=85)
        return Response(out.getvalue(), media_type="image/jpeg")

    @app.post("/api/sessions", status_code=201)
    @app.get("/api/sessions/s")
    def session() -> Any:
        return mock.session()

    @app.put("/api/sessions/s/masks/{index}")
    async def save(index: int, request: Request) -> Any:
        if mock.fail_saves:
            mock.fail_saves -= 1
            raise HTTPException(503)
        mask = np.array(Image.open(io.BytesIO(await request.body())))
        assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.uint8
        mock.annotations[index] = mask
        mock.revision += 1
        return {"revision": mock.revision}

    @app.delete("/api/sessions/s/masks/{index}")
    def remove(index: int) -> Any:
        mock.annotations.pop(index, None)
        mock.revision += 1
        return {"revision": mock.revision}

    @app.get("/api/sessions/s/masks/{index}")
    def mask(index: int) -> Response:
        source = "annotation" if index in mock.annotations else "result"
        found = mock.annotations.get(index, mock.results.get(index))
        if found is None:
            raise HTTPException(404)
        return Response(png(found), media_type="image/png", headers={"X-Source": source})

    @app.put("/api/sessions/s/objects")
    async def objects(request: Request) -> Any:
        mock.objects = await request.json()
        return mock.objects

    @app.post("/api/sessions/s/proposal")
    async def proposal(request: Request) -> Response:
        return Response(png(disk((await request.json())["frame"])), media_type="image/png")

    @app.post("/api/sessions/s/strokes")
    async def strokes(request: Request) -> Response:
        if mock.fail_strokes:
            mock.fail_strokes -= 1
            raise HTTPException(503)
        body = await request.json()
        mock.strokes.append(body)
        found = disk(body["frame"])
        return Response(png(found), media_type="image/png")

    @app.post("/api/sessions/s/run", status_code=202)
    async def run(anew: bool = False) -> Any:
        mock.anew = anew
        mock.state, mock.stopped = "running", False
        mock.send("state", {"state": "running"})
        mock.task = asyncio.create_task(mock.run())
        return {}

    @app.post("/api/sessions/s/stop", status_code=202)
    def stop() -> Any:
        mock.stopped = True
        return {}

    @app.get("/api/sessions/s/events")
    async def events() -> StreamingResponse:
        queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        mock.listeners.append(queue)

        async def stream() -> Any:
            yield f"event: state\ndata: {json.dumps(mock.session())}\n\n"
            while True:
                event, data = await queue.get()
                yield f"event: {event}\ndata: {json.dumps(data)}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    @app.post("/api/sessions/s/export", status_code=202)
    async def export(request: Request) -> Any:
        mock.exported.append(await request.json())
        return {"job": "j"}

    @app.get("/api/jobs/j")
    def job() -> Any:
        return {"id": "j", "state": "done", "progress": None, "error": None}

    @app.get("/api/jobs/j/result")
    def result(format: str = "zip") -> Response:
        return Response(b"PK", media_type="application/zip")

    @app.get("/{path:path}")
    def files(path: str) -> FileResponse:
        path = path or "index.html"
        found = (PAGE / path.removeprefix("page/")).resolve()
        if PAGE not in found.parents or not found.is_file():
            raise HTTPException(404)
        return FileResponse(found)

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--frames", type=int, default=25)
    chosen = parser.parse_args()
    uvicorn.run(make_app(chosen.frames, 0.1), port=chosen.port, log_level="warning")
