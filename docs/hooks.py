"""Extensions of the documentation build."""

from __future__ import annotations

import html
import re
from typing import Any

import griffe
from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<latex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)


def on_page_content(content: str, **_: Any) -> str:
    """Turns formulas into MathML, which browsers show without a script or another host.

    Args:
        content: HTML of a page, with the formulas marked by `pymdownx.arithmatex`.

    Returns:
        HTML without LaTeX.
    """

    def mathml(match: re.Match[str]) -> str:
        display = "block" if match["open"] == "[" else "inline"
        return convert(html.unescape(match["latex"]).strip(), display=display)

    return FORMULA.sub(mathml, content)


class ExampleSections(griffe.Extension):
    """Shows the section `Example:` of docstrings as code; griffe knows `Examples:` only."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Renames the section in the docstring of an object."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
