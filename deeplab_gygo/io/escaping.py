"""Text from data in terminals and tables: nothing in it is a command, a formula or markup."""

from __future__ import annotations

import re
import unicodedata

# Marks that change the order in which a terminal shows other characters (Unicode UAX #9).
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Control characters, lone surrogates, line and paragraph separators.
_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Characters that begin a formula in a spreadsheet, the wide forms too.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
# An underscore inside of a word is no emphasis.
_MARKUP = re.compile(r"[\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_])")
_ENTITY = re.compile(r"&(?=#?\w+;)")


def is_printable(text: str) -> bool:
    """Checks that a text has no control character, mark of direction or lone surrogate."""
    return text.isascii() and text.isprintable() or not any(map(_is_hidden, text))


def printable(text: object) -> str:
    r"""Returns a text of one line in which control characters are visible.

    Args:
        text: Text for a terminal or a log.

    Returns:
        The text; control characters, line ends, marks of direction and lone surrogates are
        replaced by their escapes, as in Python.

    Example:
        >>> print(printable("shoe\x1b[2J"))
        shoe\x1b[2J
    """
    text = str(text)
    if is_printable(text):
        return text
    return "".join(ascii(char)[1:-1] if _is_hidden(char) else char for char in text)


def csv_cell(value: object) -> object:
    """Returns the value of a CSV cell; a text that a spreadsheet would calculate begins with `'`.

    Args:
        value: Text, or a number, which stays as it is; so does a text that is a number.

    Example:
        >>> csv_cell("=1+1"), csv_cell("-0.5"), csv_cell(-0.5)
        ("'=1+1", '-0.5', -0.5)
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(_FORMULA) else text
    return text


def markdown(text: object) -> str:
    r"""Returns a text of one line for Markdown, in a table or outside, without markup of its own.

    Example:
        >>> print(markdown("<img src=x> a|b dance_twirl"))
        &lt;img src=x&gt; a\|b dance_twirl
    """
    escaped = _ENTITY.sub("&amp;", _MARKUP.sub(r"\\\g<0>", printable(text)))
    return escaped.replace("<", "&lt;").replace(">", "&gt;")


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _CATEGORIES or char in _DIRECTION
