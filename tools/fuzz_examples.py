"""Small well-formed inputs of every fuzz target, from which the mutations start."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from fuzz_targets import FRAME_SIZE
from PIL import Image

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
_CONTAINERS = {
    "mp4": "mpeg4", "matroska": "mpeg4", "avi": "mjpeg", "flv": "flv", "mpegts": "mpeg2video",
    "gif": "gif", "webm": "libvpx",
}  # fmt: skip


def _frame() -> np.ndarray:
    frame = np.full((*FRAME_SIZE, 3), 40, np.uint8)
    return cv2.circle(frame, (30, 24), 12, (200, 120, 60), -1)


def _mask() -> np.ndarray:
    return cv2.circle(np.zeros(FRAME_SIZE, np.uint8), (30, 24), 12, 1, -1)


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _pictures() -> list[bytes]:
    frame = Image.fromarray(_frame())
    turned = frame.getexif()
    turned[0x0112] = 6
    return [
        _encoded(frame, "JPEG", quality=60, exif=turned.tobytes()),
        _encoded(frame.convert("CMYK"), "JPEG", quality=60),
        _encoded(frame, "PNG"),
        _encoded(frame, "WEBP"),
        _encoded(frame, "BMP"),
        _encoded(frame, "GIF"),
        _encoded(frame, "TIFF", compression="tiff_lzw"),
        _encoded(frame, "JPEG2000"),
        _encoded(frame, "AVIF"),
        cv2.imencode(".png", _frame().astype(np.uint16) * 16)[1].tobytes(),
        cv2.imencode(".tif", _frame().astype(np.uint16) * 16)[1].tobytes(),
    ]


def _animations() -> list[bytes]:
    frames = [Image.fromarray(np.roll(_frame(), 3 * shift, axis=1)) for shift in range(4)]
    made = {"WEBP": {"lossless": True}, "PNG": {}, "TIFF": {"compression": "tiff_lzw"}}
    return [
        _encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        for form, options in made.items()
    ]


def _masks() -> list[bytes]:
    ids = _mask()
    binary = Image.fromarray(ids * 255)
    palette = Image.fromarray(ids, mode="P")
    palette.putpalette([0, 0, 0, 128, 0, 0])
    cut = Image.fromarray(np.dstack([_frame(), ids * 255]))
    colors = Image.fromarray(ids[..., None] * np.array([200, 30, 0], np.uint8))
    return [
        _encoded(binary, "PNG"),
        _encoded(palette, "PNG"),
        _encoded(palette, "GIF"),
        _encoded(cut, "PNG"),
        _encoded(cut, "WEBP", lossless=True),
        _encoded(colors, "PNG"),
        _encoded(binary, "TIFF"),
        _encoded(binary, "JPEG"),
        _encoded(Image.fromarray(ids.astype(np.uint16) * 65535), "PNG"),
    ]


def _labelme() -> list[bytes]:
    height, width = FRAME_SIZE
    points = [[10.5, 8], [40, 12], [30, 40]]
    shapes = [
        {"label": "shoe", "shape_type": "polygon", "points": points, "group_id": None},
        {"label": "2", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]},
        {"label": "shoe", "shape_type": "circle", "points": [[20, 20], [25, 20]]},
    ]
    file = {"version": "5.0", "imageHeight": height, "imageWidth": width, "shapes": shapes}
    return [json.dumps(file).encode()]


def _annotations() -> list[bytes]:
    from deeplab_gygo.io.annotations import ANNOTATION_KINDS, AnnotationWriter

    mask = _mask()
    mask[2:9, 40:60] = 2
    made = []
    for kind in ANNOTATION_KINDS:
        with tempfile.TemporaryDirectory() as folder:
            with AnnotationWriter(
                kind, folder, clip="shoe", size=FRAME_SIZE, frame_names=["00000"], object_ids=[1, 2]
            ) as writer:
                writer.write("00000", mask)
            files = [Path(folder, name) for name in writer.files]
            made += [
                path.read_bytes()
                for path in files
                if path.suffix in (".json", ".npz", ".txt") or path.name == "annotations.xml"
                if path.name not in ("meta.json", "val.txt")
            ]
    polygon = {"image_id": 3, "segmentation": [[10.5, 8, 40, 12, 30, 40]]}
    points = [[20, 20], [60, 20], [40, 80]]
    region = {"original_width": 64, "original_height": 48, "value": {"points": points}}
    shape = '<polygon frame="0" label="a" points="10.5,8;40,12;30,40"/>'
    size = "<original_size><width>64</width><height>48</height></original_size>"
    made += [
        json.dumps([polygon]).encode(),
        json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": [region]}]}]).encode(),
        f'<annotations>{size}<track id="1" label="a">{shape}</track></annotations>'.encode(),
    ]
    file = io.BytesIO()
    np.save(file, mask.astype(np.float32))
    return [*made, file.getvalue()]


def _lists() -> list[bytes]:
    row = {"video": "a.mp4", "mask": "a.png"}
    rows = [{**row, "id": "shoe/1", "frame": 3}, {"video": "b.mp4", "mask": "b.png"}]
    return ["\n".join(map(json.dumps, rows)).encode()]


def _configs() -> list[bytes]:
    return [b"steps: 40\nsize: 416\nmode: fine-tune\ntta_flip: null\nlearning_rate: 2.0e-3\n"]


def _trainings() -> list[bytes]:
    names = ("parent_gpu", "mix_gygo")
    return [(EXPERIMENTS / f"{name}.yaml").read_bytes() for name in names]


def _weights() -> list[bytes]:
    card = {
        "format": "deeplab_gygo.parent.1",
        "model": {"backbone": "efficientnet_lite0", "output_stride": 16, "aspp_channels": 16},
        "card": {"method": "deeplab"},
    }
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(card).encode(), np.uint8)
    arrays = {"head/logits/kernel": np.zeros((1, 1, 4, 1), np.float16)}
    np.savez_compressed(file, __card__=text, **arrays)
    return [file.getvalue()]


def _archives() -> list[bytes]:
    made = []
    for mode in ("w", "w:gz", "w:xz", "w:bz2"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as archive:
            for name, text in (("JPEGImages/480p/a/00000.jpg", b"frame"), ("é" * 60, b"long")):
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text))
        made.append(file.getvalue())
    return made


def _records() -> list[bytes]:
    from deeplab_gygo.runs.run_record import RunRecord

    hashes = dict.fromkeys(("input", "mask", "weights"), "0" * 64)
    record = RunRecord(config={"mode": "one-shot"}, seed=0, hashes=hashes, masks=2, frames=1)
    return [json.dumps(vars(record)).encode()]


def _video(form: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=5)
        stream.height, stream.width = FRAME_SIZE
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
        for shift in range(4):
            image = np.roll(_frame(), 3 * shift, axis=1)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


EXAMPLES: dict[str, Callable[[], list[bytes]]] = {
    "animation": _animations,
    "annotation": _annotations,
    "archive": _archives,
    "config": _configs,
    "csv": lambda: [b"video,mask,id,frame\na.mp4,a.png,shoe/1,3\n\xc3\xa9.mp4,b.png,,\n"],
    "jsonl": _lists,
    "labelme": _labelme,
    "mask": _masks,
    "picture": _pictures,
    "record": _records,
    "split": lambda: [b"/JPEGImages/480p/a/00000.jpg /Annotations/480p/a/00000.png\nb\nc/d\n"],
    "training": _trainings,
    "video": lambda: [_video(form, codec) for form, codec in _CONTAINERS.items()],
    "weights": _weights,
}
"""Functions that make the well-formed inputs of a target, by its name."""

WORDS: dict[str, list[str]] = {
    "annotation": [
        '"segmentation"', '"counts"', '"size"', '"images"', '"annotations"', '"track_id"',
        '"result"', '"rle"', '"points"', '"value"', "<image ", "<track ", "<mask ", "/>",
        "<!DOCTYPE a>", 'rle="', "group_id=", "frame=", "null", "true", "1e999", "-1", "[[", "]]",
        r'"\ud800"', "\n", " nan ",
    ],
    "labelme": [
        '"shapes"', '"points"', '"label"', '"shape_type"', '"imageHeight"', '"imageWidth"',
        '"mask"', '"polygon"', '"circle"', '"line"', '"linestrip"', '"point"', '"imageData"',
        "null", "true", "1e999", "-1", "[[", "]]", r'"\ud800"',
    ],
    "jsonl": ['"video"', '"mask"', '"id"', '"frame"', "..", "~/", r'"\ud800"', r"\u0000", "null"],
    "csv": ["video", "mask", "id", "frame", "..", "~/", '"', ","],
    "record": ['"schema"', '"hashes"', '"masks"', '"losses"', "null", "NaN", "1e999", "true"],
    "config": ["&a", "*a", "!!python/name:os", "steps", "size", "guide", "class_path", ".inf"],
    "training": ["&a", "*a", "class_path", "sources", "kind", "crop", "scale", "stride", ".nan"],
}  # fmt: skip
"""Words that mutations put in, by target."""
