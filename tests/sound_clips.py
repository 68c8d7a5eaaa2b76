"""Videos with sound and with frames at irregular times, and what is heard in a file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 48000  # samples per second


def tone(seconds: float) -> np.ndarray:
    """Returns a tone that rises, so that every moment sounds different: float32 [samples]."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * (300 + 200 * time) * time)).astype(np.float32)


def write_with_sound(
    path: Path,
    images: list[np.ndarray],
    times: list[float],
    *,
    codec: str = "aac",
    seconds: float | None = None,
    pixel_aspect: Fraction = Fraction(1),
) -> Path:
    """Writes RGB frames at their times, with a tone; the container follows from the suffix."""
    form = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
            ".ts": "mpegts"}[path.suffix]  # fmt: skip
    with av.open(str(path), "w", format=form) as container:
        video = container.add_stream("libvpx-vp9" if form == "webm" else "libx264", rate=25)
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt, video.options = "yuv420p", {"crf": "5", "bf": "0"}
        video.codec_context.time_base = Fraction(1, 1000)
        video.codec_context.sample_aspect_ratio = pixel_aspect
        audio = container.add_stream(codec, rate=RATE)
        audio.layout = "stereo"
        samples = np.stack([tone(seconds or times[-1] + 0.04)] * 2)
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for begin in range(0, samples.shape[1], 1000):
            part = np.ascontiguousarray(samples[:, begin : begin + 1000])
            frame = av.AudioFrame.from_ndarray(part, "fltp", "stereo")
            frame.rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def sound_packets(path: Path) -> list[bytes]:
    """Returns the packets of the sound."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def heard(path: Path) -> np.ndarray:
    """Returns what is heard from time 0 on: float [samples] of the first channel."""
    parts, start = [], None
    resampler = av.AudioResampler("fltp", "stereo", RATE)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            start = round(frame.time * RATE) if start is None else start
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    samples = np.concatenate(parts)
    return np.concatenate([np.zeros(max(start, 0), np.float32), samples[max(-start, 0) :]])


def frame_times(path: Path) -> list[float]:
    """Returns the times of the frames of a video, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        return sorted(float(packet.pts * stream.time_base) for packet in packets)
