"""Pages of reports: from templates, and never in the place of a file of somebody else."""

from __future__ import annotations

import math
import os
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo.errors import DependencyError, UsageError
from deeplab_gygo.inference.confidence import DOUBTFUL
from deeplab_gygo.io.atomic import replacing, storage_error
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.runs.progress_displays import duration

if TYPE_CHECKING:
    import jinja2

REPORT_NAME = "report.html"

GENERATOR = "deeplab-gygo report"
"""Content of the tag `generator`, by which a page of this package is known."""

_HEAD_BYTES = 1000  # of a page, with the generator in them


def require_packages() -> None:
    """Raises `DependencyError` if a package of the report is not installed."""
    if find_spec("jinja2") is None:
        raise DependencyError("jinja2", "report", "A report")


def page_environment(package: str) -> jinja2.Environment:
    """Returns the environment of the HTML templates of a package: every text is escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(resources.files(package) / "templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def render(template: str, **values: Any) -> str:
    """Fills a template; every text is escaped, control characters are made visible.

    Raises:
        DependencyError: Jinja2 is not installed.
    """
    require_packages()
    environment = page_environment(str(__package__))
    # Not what a macro made, which is of a subclass.
    environment.finalize = lambda value: printable(value) if type(value) is str else value
    environment.filters |= {"number": _number, "duration": duration, "bytes": _bytes}
    return environment.get_template(template).render(
        generator=GENERATOR, threshold=DOUBTFUL, **values
    )


def check_place(path: Path) -> None:
    """Checks that a page can be written: nothing is there, or an earlier page of this package.

    Raises:
        UsageError: Another file is there.
        StorageError: It cannot be read.
    """
    if not os.path.lexists(path):
        return
    try:
        with open(path, "rb") as file:
            is_own = f'content="{GENERATOR}"'.encode() in file.read(_HEAD_BYTES)
    except OSError as error:
        raise storage_error(path, error) from error
    if not is_own:
        raise UsageError(
            f"{REPORT_NAME} replaces only an earlier report",
            met="another file",
            where=path,
            remedy="Rename that file",
        )


def write_page(path: Path, text: str) -> Path:
    """Writes a page, in the place of an earlier one of this package only.

    Raises:
        UsageError: Another file is there.
        StorageError: The file cannot be written.
    """
    check_place(path)
    with replacing(path) as side:
        side.write_text(text, encoding="utf-8")
    return path


def _number(value: float | None, decimals: int = 2) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _bytes(size: int) -> str:
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 10 else f"{value:.1f} {unit}"
