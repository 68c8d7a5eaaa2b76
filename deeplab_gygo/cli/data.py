"""`data verify`, `data download`, `data pack` and `data unpack`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import add_common, add_dataset_options

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the actions and their options."""
    actions = parser.add_subcommands(dest="action", required=True, metavar="ACTION")
    for add in (_add_verify, _add_download, _add_pack, _add_unpack):
        add(actions)


def _add_verify(actions) -> None:
    from jsonargparse import ArgumentParser

    verify = ArgumentParser(exit_on_error=False, description="Count, pair and decode a data set.")
    actions.add_subcommand("verify", verify, help="count, pair and decode everything")
    add_dataset_options(verify, required=True, purpose="kind of the data set")
    verify.add_argument(
        "--no-decode", action="store_true", dest="no_decode", help="read headers of images only"
    )
    verify.add_argument("--json", action="store_true", help="print the whole report as JSON")
    add_common(verify)


def _add_download(actions) -> None:
    from jsonargparse import ArgumentParser

    download = ArgumentParser(exit_on_error=False, description="Fetch and unpack a data set.")
    actions.add_subcommand("download", download, help="fetch and unpack GyGO")
    download.add_argument("dataset", type=str, choices=["gygo"], help="what to fetch")
    download.add_argument("--root", type=str, required=True, help="where the data set goes")
    download.add_argument("--archive", type=str, metavar="FILE", help="archive fetched by hand")
    download.add_argument("--sha256", type=str, help="hash that the archive must have")
    download.add_argument("--url", type=str, help="another address of the archive")
    download.add_argument(
        "--keep-archive", action="store_true", dest="keep_archive", help="do not remove it"
    )
    for name, default in (("retries", 8), ("timeout", 30.0), ("pause", 1.0)):
        download.add_argument(
            f"--{name}", type=type(default), default=default, help=argparse.SUPPRESS
        )
    add_common(download)


def _add_pack(actions) -> None:
    from jsonargparse import ArgumentParser

    pack = ArgumentParser(
        exit_on_error=False,
        description="Pack the material of a training into shards: a few tar files with an index. "
        "A training whose data_root is the folder of the shards reads them.",
    )
    actions.add_subcommand("pack", pack, help="pack the material of a training into shards")
    pack.add_argument(
        "--config", type=str, required=True, metavar="FILE",
        help="YAML file of a training: its sources and validation sets are packed",
    )  # fmt: skip
    pack.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder to make for the shards"
    )
    pack.add_argument(
        "--data-root", type=str, dest="data_root", metavar="DIR",
        help="folder that relative roots start at, instead of the configuration's",
    )  # fmt: skip
    pack.add_argument(
        "--only", type=str, metavar="LIST",
        help="roots to pack, with commas; all below them belongs to them",
    )  # fmt: skip
    pack.add_argument(
        "--shard-mb", type=float, default=60.0, dest="shard_mb", help="largest size of a shard"
    )
    pack.add_argument(
        "--short-side", type=int, default=400, dest="short_side",
        help="larger pictures are reduced to this short side, pixels",
    )  # fmt: skip
    pack.add_argument("--quality", type=int, default=92, help="of JPEG and WebP, 1 to 100")
    pack.add_argument("--workers", type=int, default=2, help="threads that decode and code")
    add_common(pack)


def _add_unpack(actions) -> None:
    from jsonargparse import ArgumentParser

    unpack = ArgumentParser(exit_on_error=False, description="Unpack shards, hashes compared.")
    actions.add_subcommand("unpack", unpack, help="unpack shards, hashes compared")
    unpack.add_argument("shards", type=str, help="folder with index.json and the shards")
    unpack.add_argument(
        "--out", type=str, required=True, metavar="DIR", help="folder to make for the material"
    )
    add_common(unpack)


def run(options: Namespace) -> int:
    """Runs the chosen action."""
    actions = {"verify": _verify, "download": _download, "pack": _pack, "unpack": _unpack}
    return actions[options.action](options[options.action])


def _verify(options: Namespace) -> int:
    from tqdm import tqdm

    from deeplab_gygo.datasets.registry import open_dataset
    from deeplab_gygo.datasets.verify import verify_dataset
    from deeplab_gygo.errors import InputError

    dataset = open_dataset(options.dataset, options.root, options.resolution)
    with tqdm(desc="verify", unit="sequence", leave=False,
              disable=True if options.quiet else None) as bar:  # fmt: skip

        def progress(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = verify_dataset(dataset, decode=not options.no_decode, progress=progress)
    print(report.to_json() if options.json else report.summary())
    return 0 if report.ok else InputError.exit_status


def _download(options: Namespace) -> int:
    from deeplab_gygo.datasets.download import GYGO_URL, fetch_gygo

    dataset = fetch_gygo(
        Path(options.root),
        archive=options.archive,
        url=options.url or GYGO_URL,
        sha256=options.sha256,
        keep_archive=options.keep_archive,
        progress=not options.quiet,
        retries=options.retries,
        timeout=options.timeout,
        pause=options.pause,
    )
    counts = ", ".join(f"{split} {len(dataset.listed(split))}" for split in dataset.splits())
    print(f"{dataset.root}: {counts}")
    return 0


def _pack(options: Namespace) -> int:
    from deeplab_gygo.data.packed_forms import PackSettings
    from deeplab_gygo.data.shard_writer import pack_material
    from deeplab_gygo.synthesis.material import data_root
    from deeplab_gygo.training.config import load_training

    config = load_training(Path(options.config).expanduser())
    packed = pack_material(
        config,
        data_root(options.data_root or config.data_root).expanduser(),
        Path(options.out).expanduser(),
        settings=PackSettings(options.short_side, options.quality),
        shard_bytes=int(options.shard_mb * 1e6),
        only=[name.strip() for name in (options.only or "").split(",") if name.strip()],
        workers=options.workers,
        progress=not options.quiet,
    )
    for root, shards in packed.by_root().items():
        before, after = (
            sum(sizes) / 1e6
            for sizes in ([s.original_bytes for s in shards], [s.size for s in shards])
        )
        files = sum(shard.members for shard in shards)
        print(f"{root}: {files} files, {before:.1f} MB in {len(shards)} shards of {after:.1f} MB")
    print(f"{options.out}: {len(packed.shards)} shards, {packed.size / 1e6:.1f} MB")
    return 0


def _unpack(options: Namespace) -> int:
    from deeplab_gygo.data.shards import unpack

    out = Path(options.out).expanduser()
    print(unpack(Path(options.shards).expanduser(), out, progress=not options.quiet))
    return 0
