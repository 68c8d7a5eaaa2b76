"""Clips that clients send: files under names of the server, unpacked and checked within limits."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from deeplab_gygo.datasets.space import SpaceLimit
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.animation import image_kind
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.images import IMAGE_SUFFIXES, read_header
from deeplab_gygo.io.listing import VIDEO_SUFFIXES, is_stray
from deeplab_gygo.io.natural_order import order_key
from deeplab_gygo.io.video_reading import open_container
from deeplab_gygo.server.answers import Refused
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.settings import Limits
from deeplab_gygo.server.states import ClipInfo

FRAME_FOLDER = "frames"

MASK_SUFFIXES = (".png", ".jpg", ".jpeg", ".json", ".webp", ".bmp", ".tif", ".tiff", ".npy", ".npz",
                 ".xml", ".txt")  # fmt: skip
"""Suffixes of masks that are kept; what a mask is follows from its content otherwise."""

MAX_NAME = 100
"""Most characters of the name of a clip that are shown."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_CHUNK = 1 << 20  # bytes
_ENCRYPTED = 1  # bit of the flags of a member
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)

Fill = Callable[[Path, SpaceLimit], None]


def add_clip(engine: Engine, limits: Limits, filename: str, fill: Fill) -> ClipInfo:
    """Adds a clip that a client sends. Blocking.

    Args:
        engine: Owner of the clips.
        limits: Limits on bytes, pixels and frames.
        filename: Name that the client gave; only shown, never a path.
        fill: Writes the file to a path, and counts its bytes.

    Returns:
        The clip.

    Raises:
        InputError: It is damaged, unsafe, or no clip.
        Refused: It exceeds a limit.
        StorageError: The disk is full.
    """
    clip_id, folder = engine.new_clip_folder()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        path = folder / f"clip{_suffix(filename, (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES), '.mp4')}"
        fill(path, SpaceLimit(folder, limits.upload_bytes, "the upload", "A clip has"))
        with open(path, "rb") as file:
            is_zip = file.read(4) in _ZIP
        if is_zip:
            path = _unpacked(path, folder / FRAME_FOLDER, limits)
        check_pixels(path, limits.pixels)
        info = engine.open_clip(path, shown_name(filename), clip_id=clip_id)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if info.frames > limits.frames:
        engine.delete_clip(clip_id)
        raise _too_many(limits.frames, info.frames)
    return info


def copy_to(source: BinaryIO) -> Fill:
    """Returns what copies an open file."""

    def fill(path: Path, space: SpaceLimit) -> None:
        with open(path, "xb") as target:
            while block := source.read(_CHUNK):
                space.count(len(block))
                target.write(block)

    return fill


def shown_name(filename: str) -> str:
    r"""Returns the name of a clip for people, from the name of a file.

    Example:
        >>> shown_name(r"C:\clips\shoe.mp4"), shown_name("../../")
        ('shoe.mp4', 'clip')
    """
    name = printable(filename.replace("\\", "/").rstrip("/").rpartition("/")[2]).strip()
    return name[:MAX_NAME] if name.strip(".") else "clip"


def mask_suffix(filename: str) -> str:
    """Returns the suffix under which a mask is kept."""
    return _suffix(filename, MASK_SUFFIXES, ".png")


def check_pixels(path: Path, limit: int) -> None:
    """Checks the size of the frames of a clip before one is decoded.

    Raises:
        InputError: The clip is damaged, or none.
        Refused: Its frames are too large.
    """
    for each in sorted(path.iterdir()) if path.is_dir() else [path]:
        if image_kind(each) is None:
            with open_container(each) as (_, stream):
                width, height = stream.codec_context.width, stream.codec_context.height
        else:
            height, width = read_header(each).size
        if width * height > limit:
            raise Refused(
                413,
                f"A frame has at most {limit} pixels",
                f"{width}x{height}",
                "Scale the clip down, as by ffmpeg",
            )


def _suffix(filename: str, known: tuple[str, ...], default: str) -> str:
    suffix = PurePosixPath(filename.replace("\\", "/")).suffix.lower()
    return suffix if suffix in known else default


def _unpacked(archive: Path, folder: Path, limits: Limits) -> Path:
    """Unpacks the images of a zip under numbers as names, in natural order; removes the zip.

    Returns:
        The folder, or the only file where it is a video.

    Raises:
        InputError: The archive is damaged, or has anything but files and folders.
        Refused: It has too many images, or is too large unpacked.
    """
    folder.mkdir()
    # Images do not pack: a limit on an upload is one on what it unpacks to.
    space = SpaceLimit(folder, limits.upload_bytes, "the upload", "An archive unpacks to")
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _images(opened, limits)
            space.require(sum(member.file_size for member in members))
            for index, member in enumerate(members):
                suffix = PurePosixPath(member.filename).suffix.lower()
                with (
                    opened.open(member) as source,
                    open(folder / f"{index:06d}{suffix}", "xb") as target,
                ):
                    while block := source.read(_CHUNK):
                        space.count(len(block))
                        target.write(block)
    except _DAMAGE as error:
        raise _unusable(str(error) or type(error).__name__) from error
    except RuntimeError as error:  # a password
        raise _unusable(str(error)) from error
    archive.unlink()
    return folder


def _images(archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """Returns the members of an archive that are images of one folder, in natural order."""
    found = []
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        if member.is_dir() or any(is_stray(part) for part in path.parts):
            continue
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise _unusable(f"'{member.filename[:MAX_NAME]}' is no file")
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _STORED:
            raise _unusable(f"'{member.filename[:MAX_NAME]}' is encrypted, or of another packing")
        if path.suffix.lower() in IMAGE_SUFFIXES:
            found.append(member)
    if len(found) > limits.frames:
        raise _too_many(limits.frames, len(found))
    if not found:
        raise _unusable("no image")
    folders = {PurePosixPath(member.filename).parent for member in found}
    if len(folders) > 1:
        raise _unusable(f"images in {len(folders)} folders")
    # A name of the archive is only compared; the files get numbers.
    key = order_key([Path(PurePosixPath(member.filename).name) for member in found])
    return sorted(found, key=lambda member: key(PurePosixPath(member.filename).stem))


def _unusable(met: str) -> InputError:
    return InputError(
        "An archive of frames is a zip of images in one folder",
        met=printable(met),
        remedy="Send a zip of PNG or JPEG files, or a video",
    )


def _too_many(limit: int, found: int) -> Refused:
    return Refused(413, f"A clip has at most {limit} frames", f"{found}", "Send a part of the clip")
