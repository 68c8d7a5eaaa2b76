"""`data verify` and `data download`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab_gygo.commands.options import add_common, add_dataset_options

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the two actions and their options."""
    from jsonargparse import ArgumentParser

    actions = parser.add_subcommands(dest="action", required=True, metavar="ACTION")
    verify = ArgumentParser(exit_on_error=False, description="Count, pair and decode a data set.")
    actions.add_subcommand("verify", verify, help="count, pair and decode everything")
    add_dataset_options(verify, required=True, purpose="kind of the data set")
    verify.add_argument(
        "--no-decode", action="store_true", dest="no_decode", help="read headers of images only"
    )
    verify.add_argument("--json", action="store_true", help="print the whole report as JSON")
    add_common(verify)
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


def run(options: Namespace) -> int:
    """Runs the chosen action."""
    actions = {"verify": _verify, "download": _download}
    return actions[options.action](options[options.action])


def _verify(options: Namespace) -> int:
    from tqdm import tqdm

    from deeplab_gygo.data.datasets import open_dataset
    from deeplab_gygo.data.verify import verify_dataset
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
    from deeplab_gygo.data.download import GYGO_URL, fetch_gygo

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
