"""`data verify` and `data download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deeplab_gygo.cli.options import Help, Request, add_common, add_dataset_options
from deeplab_gygo.cli.progress_options import add_progress_option, shown
from deeplab_gygo.cli.scratch_options import add_scratch_options, use_scratch

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the actions and their options."""
    from jsonargparse import ArgumentParser

    actions = parser.add_subcommands(dest="action", required=True, metavar="ACTION")
    verify, download = (
        ArgumentParser(exit_on_error=False, formatter_class=Help, description=text)
        for text in (
            "Count, pair and decode the files of a dataset.",
            "Download and unpack a dataset.",
        )
    )
    actions.add_subcommand("verify", verify, help="count, pair and decode everything")
    add_dataset_options(verify, request, required=True, purpose="kind of the dataset")
    verify.add_argument(
        "--no-decode", action="store_true", dest="no_decode", help="read only the headers of images"
    )
    verify.add_argument("--json", action="store_true", help="print the complete report as JSON")
    add_progress_option(verify)
    add_scratch_options(verify, request)
    add_common(verify)
    actions.add_subcommand("download", download, help="download and unpack GyGO")
    download.add_argument("dataset", type=str, choices=["gygo"], help="dataset to download")
    download.add_argument("--root", type=str, required=True, help="folder to make for the dataset")
    download.add_argument("--archive", type=str, metavar="FILE", help="archive downloaded by hand")
    download.add_argument("--sha256", type=str, help="hash that the archive must have")
    download.add_argument("--url", type=str, help="another address of the archive")
    download.add_argument(
        "--keep-archive", action="store_true", dest="keep_archive", help="keep the archive"
    )
    add_common(download)


def run(options: Namespace) -> int:
    """Runs the chosen action."""
    actions = {"verify": _verify, "download": _download}
    return actions[options.action](options[options.action])


def _verify(options: Namespace) -> int:
    from deeplab_gygo.datasets.registry import open_dataset
    from deeplab_gygo.datasets.verify import verify_dataset
    from deeplab_gygo.errors import InputError
    from deeplab_gygo.runs.progress_displays import Count

    use_scratch(options)
    dataset = open_dataset(options.dataset, options.root, options.resolution)
    count = Count("verify", "sequence", len(dataset.names_on_disk()), keep=False)
    with shown(options, count) as progress:
        report = verify_dataset(
            dataset,
            decode=not options.no_decode,
            progress=lambda done, total, name: progress.update(done),
        )
    print(report.to_json() if options.json else report.summary())
    return 0 if report.ok else InputError.exit_status


def _download(options: Namespace) -> int:
    from deeplab_gygo.datasets.download import GYGO_URL, fetch_gygo
    from deeplab_gygo.io.escaping import printable

    dataset = fetch_gygo(
        Path(options.root),
        archive=options.archive,
        url=options.url or GYGO_URL,
        sha256=options.sha256,
        keep_archive=options.keep_archive,
        progress=not options.quiet,
    )
    counts = ", ".join(f"{split} {len(dataset.listed(split))}" for split in dataset.splits())
    print(printable(f"{dataset.root}: {counts}"))
    return 0
