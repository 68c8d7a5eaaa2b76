"""Files that are made to run, escape, hang or flood, each with the fuzz target that reads it."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Builder = Callable[[Path], bytes | None]
"""Returns the bytes of the file, or makes the file itself and returns None."""

HOSTILE: dict[str, tuple[str, Builder]] = {}
"""Fuzz target and builder by the name of the case."""


def _hostile(target: str, *names: str) -> Callable[[Builder], Builder]:
    def add(build: Builder) -> Builder:
        HOSTILE[build.__name__.strip("_")] = (target, build)
        for other in names:
            HOSTILE[f"{build.__name__.strip('_')} as {other}"] = (other, build)
        return build

    return add


# Files that are none.

OTHER_READERS = (
    "annotation", "mask", "picture", "weights", "config", "jsonl", "archive", "video", "record",
    "animation",
)  # fmt: skip


@_hostile("labelme", *OTHER_READERS)
def _pipe(path: Path) -> None:
    os.mkfifo(path)


@_hostile("labelme", *OTHER_READERS)
def _endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@_hostile("labelme", *OTHER_READERS)
def _folder(path: Path) -> None:
    path.mkdir()


# Pictures.


@_hostile("mask", "picture", "video")
def _postscript(path: Path) -> bytes:
    return (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\n"
        b"0 0 moveto 64 48 lineto stroke\nshowpage\n%%EOF\n"
    )


def _png(width: int, height: int, kind: int, rows: int, *chunks: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + check

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, kind, 0, 0, 0])
    channels = {0: 1, 2: 3, 6: 4}[kind]
    deflate = zlib.compressobj(9)
    row = bytes(1 + width * channels)
    data = b"".join([deflate.compress(row) for _ in range(rows)]) + deflate.flush()
    parts = [chunk(b"IHDR", head), *chunks, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@_hostile("mask")
def _png_of_another_size(path: Path) -> bytes:
    return _png(13_000, 13_000, 6, 13_000)


@_hostile("mask", "picture", "video")
def _png_of_gigapixels(path: Path) -> bytes:
    return _png(100_000, 100_000, 2, 1)


@_hostile("mask", "picture")
def _png_text_bomb(path: Path) -> bytes:
    info = PngInfo()
    for number in range(20):
        info.add_text(f"Comment{number}", " " * 50_000_000, zip=True)
    file = io.BytesIO()
    Image.new("L", (64, 48)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


@_hostile("video", "picture")
def _gif_of_gigapixels(path: Path) -> bytes:
    head = b"GIF89a\xff\xff\xff\xff\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    frame = b"\x2c\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x44\x01\x00"
    return head + frame * 50 + b"\x3b"


def _animation(form: str, **options: object) -> bytes:
    file, frame = io.BytesIO(), Image.new("RGB", (64, 48))
    other = Image.new("RGB", (64, 48), (200, 0, 0))
    frame.save(file, form, save_all=True, append_images=[other], duration=40, **options)
    return file.getvalue()


@_hostile("animation", "picture")
def _webp_of_gigapixels(path: Path) -> bytes:
    data = _animation("WEBP", lossless=True)
    place = data.index(b"VP8X") + 12  # width and height, less one, 24 bits each
    return data[:place] + b"\xff" * 6 + data[place + 6 :]


@_hostile("animation")
def _webp_of_many_frames(path: Path) -> bytes:
    data = _animation("WEBP", lossless=True)
    place = data.index(b"ANMF")
    frame = b"ANMF" + (24).to_bytes(4, "little") + bytes(24)
    data = data[:place] + frame * 200_000
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


@_hostile("animation")
def _png_of_more_frames_than_it_has(path: Path) -> bytes:
    data = _animation("PNG")
    place = data.index(b"acTL")
    chunk = b"acTL" + b"\x7f\xff\xff\xff" + bytes(4)
    return data[:place] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[place + 16 :]


def _tiff(width: int, height: int, following: int) -> bytes:
    """A TIFF file of one page in one strip, whose next page is said to be at some byte."""
    entries = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (279, 64))
    listed = b"".join(
        tag.to_bytes(2, "little")
        + b"\4\0"
        + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, value in entries
    )
    head = b"II*\0" + (72).to_bytes(4, "little") + bytes(64)
    return head + len(entries).to_bytes(2, "little") + listed + following.to_bytes(4, "little")


@_hostile("animation", "picture")
def _tiff_of_gigapixels(path: Path) -> bytes:
    return _tiff(100_000, 100_000, 0)


@_hostile("animation", "picture")
def _jpeg_2000_of_gigapixels(path: Path) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG2000", no_jp2=True)
    data = file.getvalue()
    place = data.index(b"\xff\x51") + 6
    return data[:place] + (100_000).to_bytes(4, "big") * 2 + data[place + 8 :]


@_hostile("picture")
def _avif_of_gigapixels(path: Path) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "AVIF")
    data = file.getvalue()
    place = data.index(b"ispe") + 8
    return data[:place] + (60_000).to_bytes(4, "big") * 2 + data[place + 8 :]


# Annotations.


def _labelme(**changes: object) -> bytes:
    shape = {"label": "shoe", "shape_type": "polygon", "points": [[1, 1], [9, 1], [9, 9]]}
    shape |= {key[6:]: value for key, value in changes.items() if key.startswith("shape_")}
    content = {"imageHeight": 48, "imageWidth": 64, "shapes": [shape]}
    content |= {key: value for key, value in changes.items() if not key.startswith("shape_")}
    return json.dumps(content).encode()


@_hostile("labelme")
def _labelme_of_another_size(path: Path) -> bytes:
    return _labelme(imageHeight=100_000, imageWidth=100_000)


@_hostile("labelme")
def _labelme_huge_points(path: Path) -> bytes:
    return _labelme(shape_points=[[-1e300, 1e300], [1e308, 5], [3, 1e18]])


@_hostile("labelme")
def _labelme_many_points(path: Path) -> bytes:
    return _labelme(shape_points=[[i % 60, i % 40] for i in range(1_500_000)])


@_hostile("labelme")
def _labelme_types(path: Path) -> bytes:
    return _labelme(imageHeight=True, shape_shape_type=["polygon"], shape_label=["shoe"])


@_hostile("labelme", "annotation", "record", "jsonl")
def _json_nested(path: Path) -> bytes:
    return b'{"shapes": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@_hostile("labelme")
def _labelme_long_number(path: Path) -> bytes:
    return _labelme(shape_label="9" * 5_000)


@_hostile("labelme")
def _labelme_picture_is_postscript(path: Path) -> bytes:
    import base64

    data = base64.b64encode(_postscript(path) or b"").decode()
    return _labelme(shape_shape_type="mask", shape_points=[[0, 0], [63, 47]], shape_mask=data)


def _coco(segmentation: object, count: int = 1, **image: int) -> bytes:
    images = [{"id": 1, "file_name": "a.jpg", "height": 48, "width": 64} | image]
    items = [{"id": number, "image_id": 1, "segmentation": segmentation} for number in range(count)]
    return json.dumps({"images": images, "annotations": items}).encode()


@_hostile("annotation")
def _coco_of_another_size(path: Path) -> bytes:
    return _coco({"size": [100_000, 100_000], "counts": [0, 10**10]}, height=100_000, width=100_000)


@_hostile("annotation")
def _coco_runs_beyond_the_mask(path: Path) -> bytes:
    return _coco({"size": [48, 64], "counts": "ooooooN" * 1000})


@_hostile("annotation")
def _coco_string_without_an_end(path: Path) -> bytes:
    return _coco({"size": [48, 64], "counts": "o" * 3_000_000})


@_hostile("annotation")
def _coco_many_runs(path: Path) -> bytes:
    return _coco({"size": [48, 64], "counts": [0] * 4_500_000})


@_hostile("annotation")
def _coco_many_points(path: Path) -> bytes:
    return _coco([[index % 60 for index in range(2_500_000)]])


@_hostile("annotation")
def _coco_points_that_cross_all_rows(path: Path) -> bytes:
    return _coco([[0, -1e6, 9, 1e6] * 100_000], height=6_000, width=6_000)


@_hostile("annotation")
def _coco_many_large_shapes(path: Path) -> bytes:
    return _coco([[0, 0, 6e3, 0, 6e3, 6e3]], 2_000, height=6_000, width=6_000)


@_hostile("annotation")
def _coco_many_annotations(path: Path) -> bytes:
    return _coco([[0, 0, 9, 0, 9, 9]], 50_000)


def _cvat(shapes: str) -> bytes:
    image = f'<image id="0" name="a.jpg" width="64" height="48">{shapes}</image>'
    return f"<annotations>{image}</annotations>".encode()


@_hostile("annotation")
def _xml_bomb(path: Path) -> bytes:
    lines = ['<!ENTITY a0 "ha">']
    lines += [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)]
    return f"<!DOCTYPE a [{''.join(lines)}]><annotations>&a11;</annotations>".encode()


@_hostile("annotation")
def _xml_of_another_file(path: Path) -> bytes:
    entity = f'<!ENTITY a SYSTEM "{path.parent / "planted.mp4"}">'
    return f"<!DOCTYPE a [{entity}]><annotations>&a;</annotations>".encode()


@_hostile("annotation")
def _xml_nested(path: Path) -> bytes:
    return b"<annotations>" + b"<a>" * 1_000


@_hostile("annotation")
def _xml_many_elements(path: Path) -> bytes:
    return _cvat('<a b="1"/>' * 5_000_000)


@_hostile("annotation")
def _xml_many_attributes(path: Path) -> bytes:
    return _cvat("<a " + "".join(f'b{number}="" ' for number in range(4_000_000)) + "/>")


@_hostile("annotation")
def _cvat_mask_beyond_the_image(path: Path) -> bytes:
    return _cvat('<mask rle="0,4" left="63" top="47" width="2" height="2"/>')


@_hostile("annotation")
def _cvat_long_number(path: Path) -> bytes:
    return _cvat(f'<mask rle="{"9" * 5_000}" left="0" top="0" width="2" height="2"/>')


@_hostile("annotation")
def _cvat_of_another_size(path: Path) -> bytes:
    return _cvat('<polygon points="0,0;9,0;9,9"/>').replace(b'"64"', b'"999999"')


def _brush(rle: list[int], height: int = 48, width: int = 64) -> bytes:
    value = {"format": "rle", "rle": rle, "brushlabels": ["a"]}
    region = {"original_height": height, "original_width": width, "value": value}
    return json.dumps([{"data": {}, "annotations": [{"result": [region]}]}]).encode()


def _brush_head(values: int) -> list[int]:
    widths = 0b00111_0000_0001_0010_0011_000
    return [*values.to_bytes(4, "big"), *widths.to_bytes(3, "big")]


@_hostile("annotation")
def _brush_of_many_packets(path: Path) -> bytes:
    return _brush([*_brush_head(4 * 36_000_000), *[0] * 1_500_000], 6_000, 6_000)


@_hostile("annotation")
def _brush_of_more_values(path: Path) -> bytes:
    return _brush([*_brush_head(2**32 - 1), *[255] * 1_000])


@_hostile("annotation")
def _outlines_of_many_lines(path: Path) -> bytes:
    return b"0 0 0 1 0 1 1\n" * 200_000


def _npy_head(shape: tuple[int, ...], kind: str) -> bytes:
    file = io.BytesIO()
    form = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, form)
    return file.getvalue()


@_hostile("annotation")
def _npy_of_gigapixels(path: Path) -> bytes:
    return _npy_head((100_000, 100_000), "|u1")


@_hostile("annotation")
def _npy_of_objects(path: Path) -> bytes:
    return _npy_head((1, 1), "|O") + b"cos\nsystem\n(S'touch executed'\ntR."


@_hostile("annotation")
def _npz_bomb(path: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("00000.npy", "w", force_zip64=True) as member:
            member.write(_npy_head((1 << 15, 1 << 16), "|u1"))
            for _ in range(1 << 11):
                member.write(bytes(1 << 20))
    return file.getvalue()


# Configurations and records.


def _bomb(key: str) -> bytes:
    lines = [f"{key}: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines).encode()


@_hostile("config", "training")
def _yaml_bomb(path: Path) -> bytes:
    return _bomb("steps")


@_hostile("config", "training")
def _yaml_object(path: Path) -> bytes:
    return b"steps: !!python/object/apply:os.system [touch executed]\n"


@_hostile("config")
def _yaml_class_path(path: Path) -> bytes:
    return b"class_path: planted_module.Planted\ninit_args: {steps: 3}\n"


@_hostile("config")
def _yaml_class_path_of_a_value(path: Path) -> bytes:
    return b"steps: {class_path: planted_module.Planted}\n"


@_hostile("training")
def _training_class_path(path: Path) -> bytes:
    sources = b"sources: [{class_path: planted_module.Planted, init_args: {}}]\n"
    return sources + b"model: {class_path: this.X}\n"


@_hostile("config", "training")
def _yaml_contains_itself(path: Path) -> bytes:
    return b"steps: &a {steps: *a}\nsources: *a\n"


# Weights.


def _npz(card: object, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(card).encode(), np.uint8)
    np.savez_compressed(file, __card__=text, **arrays)
    return file.getvalue()


def _card(**changes: object) -> dict[str, object]:
    model = {"backbone": "efficientnet_lite0"}
    return {
        "format": "deeplab_gygo.parent.1",
        "model": model,
        "card": {"method": "deeplab"},
    } | changes


@_hostile("weights")
def _weights_class_path(path: Path) -> bytes:
    return _npz(_card(model={"class_path": "planted_module.Planted"}))


@_hostile("weights")
def _weights_class_path_of_a_value(path: Path) -> bytes:
    return _npz(_card(model={"backbone": {"class_path": "planted_module.Planted"}}))


@_hostile("weights")
def _weights_card_is_a_list(path: Path) -> bytes:
    return _npz([1, 2, 3])


@_hostile("weights")
def _weights_of_a_monster(path: Path) -> bytes:
    return _npz(_card(model={"backbone": "efficientnet_lite0", "decoder_channels": 10**9}))


@_hostile("weights")
def _weights_bomb(path: Path) -> bytes:
    file = io.BytesIO(_npz(_card()))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("head/kernel.npy", "w", force_zip64=True) as member:
            head = io.BytesIO()
            form = {"descr": "<f4", "fortran_order": False, "shape": (1 << 29,)}
            np.lib.format.write_array_header_1_0(head, form)
            member.write(head.getvalue())
            for _ in range(1 << 11):
                member.write(bytes(1 << 20))
    return file.getvalue()


@_hostile("weights")
def _weights_pickle(path: Path) -> bytes:
    class Call:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch executed",)

    file = io.BytesIO(_npz(_card()))
    with zipfile.ZipFile(file, "a") as archive, archive.open("head/kernel.npy", "w") as member:
        np.lib.format.write_array(member, np.array([Call()], object), allow_pickle=True)
    return file.getvalue()


@_hostile("weights")
def _weights_card_bomb(path: Path) -> bytes:
    card = {**_card(), "note": "x" * 300_000_000}
    return _npz(card)


@_hostile("weights")
def _weights_long_header(path: Path) -> bytes:
    file = io.BytesIO(_npz(_card()))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        shape = "(" * 100_000 + ")" * 100_000
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
        head = b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text
        archive.writestr("head/kernel.npy", head)
    return file.getvalue()


# Archives.


def _tar(*members: tuple[str, dict[str, object], bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        for name, values, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in values.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@_hostile("archive")
def _tar_parent(path: Path) -> bytes:
    return _tar(("../escaped", {}, b"x"))


@_hostile("archive")
def _tar_absolute(path: Path) -> bytes:
    return _tar((str(path.parent.parent / "escaped"), {}, b"x"))


@_hostile("archive")
def _tar_link(path: Path) -> bytes:
    link = {"type": tarfile.SYMTYPE, "linkname": "../.."}
    return _tar(("out", link, b""), ("out/escaped", {}, b"x"))


@_hostile("archive")
def _tar_hard_link(path: Path) -> bytes:
    target = path.parent / "victim"
    target.write_bytes(b"kept")
    link = {"type": tarfile.LNKTYPE, "linkname": "../victim"}
    return _tar(("here", link, b""), ("here", {}, b"overwritten"))


@_hostile("archive")
def _tar_beyond_the_longest_path(path: Path) -> bytes:
    """CVE-2025-4517: links whose real path is too long to be resolved are taken as inside."""
    long, members, here = "d" * 247, [], ""
    for step in "abcdefghijklmnop":
        members.append((os.path.join(here, long), {"type": tarfile.DIRTYPE}, b""))
        link = {"type": tarfile.SYMTYPE, "linkname": long}
        members.append((os.path.join(here, step), link, b""))
        here = os.path.join(here, step)
    end = os.path.join("/".join("abcdefghijklmnop"), "l" * 254)
    members.append((end, {"type": tarfile.SYMTYPE, "linkname": "../" * 16}, b""))
    members.append(("escape", {"type": tarfile.SYMTYPE, "linkname": f"{end}/../../.."}, b""))
    members.append(("escape/escaped", {}, b"x"))
    return _tar(*members)


@_hostile("archive")
def _tar_device(path: Path) -> bytes:
    return _tar(("zero", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}, b""))


@_hostile("archive")
def _tar_bomb(path: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:xz", preset=1) as archive:
        for number in range(8):
            member = tarfile.TarInfo(f"frame{number}.jpg")
            member.size = 1 << 27
            archive.addfile(member, io.BytesIO(bytes(1 << 27)))
    return file.getvalue()


@_hostile("archive")
def _tar_long_extended_header(path: Path) -> bytes:
    return _tar(("a", {"pax_headers": {"comment": "x" * 200_000_000}}, b"x"), mode="w:gz")


@_hostile("archive")
def _tar_damaged_header(path: Path) -> bytes:
    members = [(f"frame{number}.jpg", {}, b"content") for number in range(8)]
    data = bytearray(_tar(*members))
    data[4 * 1024 + 20] ^= 4  # every member has a block of header and one of content
    return bytes(data)


# Names.


def _rows(*ids: str) -> bytes:
    rows = [{"video": "a.mp4", "mask": "a.png", "id": name} for name in ids]
    return "\n".join(map(json.dumps, rows)).encode()


@_hostile("jsonl")
def _names_that_escape(path: Path) -> bytes:
    return _rows("~/escaped", "~root/escaped", "../escaped", "/escaped", "a/../../escaped")


@_hostile("jsonl")
def _names_that_are_none(path: Path) -> bytes:
    return _rows("", ".", "a\0b", "\ud800", "x" * 300, "summary.json", ".hidden", "a\nb")


# Videos that name other files.


@_hostile("video")
def _playlist(path: Path) -> bytes:
    return f"#EXTM3U\n#EXTINF:1,\n{path.parent / 'planted.mp4'}\n#EXT-X-ENDLIST\n".encode()


@_hostile("video")
def _concatenation(path: Path) -> bytes:
    return f"ffconcat version 1.0\nfile '{path.parent / 'planted.mp4'}'\n".encode()


@_hostile("video")
def _session_description(path: Path) -> bytes:
    return (
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    )
