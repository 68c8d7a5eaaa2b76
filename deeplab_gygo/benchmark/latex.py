"""The main table in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from deeplab_gygo.benchmark.tables import FPS_STATEMENT
from deeplab_gygo.benchmark.view import COLUMNS, DatasetTable, TableRow
from deeplab_gygo.evaluation.quoted import QuotedSource

_WIDTH = 2 + len(COLUMNS) + 1  # method, mode, numbers, hardware

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "–": "--", "\N{MINUS SIGN}": "$-$", "≈": r"$\approx$",
}  # fmt: skip


def latex(tables: Sequence[DatasetTable], sources: dict[str, QuotedSource]) -> str:
    """Makes the main tables in LaTeX, one float each, with the package `booktabs` alone.

    Args:
        tables: The main tables.
        sources: Sources of quoted rows, in the order of their numbers.

    Returns:
        LaTeX for the body of a document.
    """
    parts = [
        "% Made by: deeplab-gygo benchmark. Needs \\usepackage{booktabs}.\n"
        "% Quoted rows are in italics and carry the number of their source."
    ]
    parts += [_latex_table(table, sources) for table in tables]
    return "\n\n".join(parts) + "\n"


def _latex_table(table: DatasetTable, sources: dict[str, QuotedSource]) -> str:
    texts = (text for row in table.rows for text in (row.note, _why(row)[1], row.hardware))
    marks = {text: _mark(at) for at, text in enumerate(dict.fromkeys(filter(None, texts)))}
    body = []
    for section in table.sections:
        body.append(rf"\multicolumn{{{_WIDTH}}}{{l}}{{\textit{{{escaped(section.title)}}}}} \\")
        body += [_latex_row(row, marks) for row in section.rows]
        body.append(r"\midrule")
    label = table.dataset.name.replace("_", "-")
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\small",
            r"\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{_caption(table)}}}",
            rf"\label{{tab:{label}}}",
            r"\smallskip",
            r"\begin{tabular}{llrrrrrrrrl}",
            r"\toprule",
            r" & & \multicolumn{3}{c}{$\mathcal{J}$} & \multicolumn{3}{c}{$\mathcal{F}$} & "
            r"Adapt. & & \\",
            r"\cmidrule(lr){3-5}\cmidrule(lr){6-8}",
            r"Method & Mode & Mean & Recall & Decay & Mean & Recall & Decay & s & FPS & \\",
            r"\midrule",
            *body[:-1],
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\smallskip\footnotesize\raggedright",
            _latex_notes(table, marks, sources),
            r"\end{table*}",
        ]
    )


def _caption(table: DatasetTable) -> str:
    return escaped(" ".join([f"{table.dataset.label}.", *table.statements, FPS_STATEMENT]))


def _mark(position: int) -> str:
    """Numbers notes by letters: a to z, then aa, ab and so on."""
    before, letter = divmod(position, 26)
    return (_mark(before - 1) if before else "") + chr(ord("a") + letter)


def _latex_row(row: TableRow, marks: dict[str, str]) -> str:
    is_quoted = row.origin == "quoted"
    style = r"\textit{%s}" if is_quoted else "%s"
    method = style % escaped(row.method) + (f"~[{row.source}]" if is_quoted else "")
    head = [method + _raised(row.note, marks), style % escaped(row.full_mode)]
    if row.origin == "absent":
        short, why = _why(row)
        text = escaped(short) + _raised(why, marks)
        return " & ".join([*head, rf"\multicolumn{{{_WIDTH - 2}}}{{l}}{{{text}}} \\"])
    numbers = []
    for column in COLUMNS:
        text = escaped(row.text(column))
        numbers.append(rf"\textbf{{{text}}}" if column in row.best else style % text)
    return " & ".join([*head, *numbers, _raised(row.hardware, marks)]) + r" \\"


def _why(row: TableRow) -> tuple[str, str]:
    """Splits the reason of an absent row into what fits a cell and what belongs into a note."""
    short, _, why = row.reason.partition(": ")
    return short, why


def _raised(text: str, marks: dict[str, str]) -> str:
    """Refers to a note."""
    return f"$^{{{marks[text]}}}$" if text else ""


def _latex_notes(
    table: DatasetTable, marks: dict[str, str], sources: dict[str, QuotedSource]
) -> str:
    used = {row.source for row in table.rows if row.source}
    notes = [f"$^{{{mark}}}$~{escaped(text)}." for text, mark in marks.items()]
    notes += [escaped(caveat) for caveat in table.caveats]
    notes += [
        f"[{number}]~{escaped(source.text)}."
        for number, source in enumerate(sources.values(), start=1)
        if number in used
    ]
    return " ".join(notes)


def escaped(text: str) -> str:
    """Escapes what has a meaning in LaTeX."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)
