"""Tables of a report: one description, written as HTML (by the template), Markdown or LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

from emotion.reporting import numbers


@dataclass(frozen=True)
class Column:
    """A column: its heading, what it means (shown as a hint), and how it is laid out.

    Attributes:
        number: right-aligned, and its first click sorts descending.
        plain: left out of Markdown and LaTeX (it only repeats another column as a picture).
    """

    title: str
    hint: str = ""
    number: bool = True
    plain: bool = True


@dataclass(frozen=True)
class Cell:
    """A value as text, what it sorts by, and what stands small beside it (mostly its interval)."""

    text: str
    sort: float | str | None = None
    note: str = ""
    picture: Markup | None = None
    strong: bool = False
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first cell of a row names it.

    Attributes:
        sorted_by: index of the column that the rows are ordered by, and whether ascending.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = True
    sorted_by: tuple[int, Literal["ascending", "descending"]] | None = None
    notes: tuple[str, ...] = field(default=())


def markdown(table: Table) -> str:
    """A pipe table with its caption and notes."""
    kept = _kept(table)
    lines = [f"**{_markdown(table.caption)}**", ""]
    lines.append("| " + " | ".join(_markdown(table.columns[index].title) for index in kept) + " |")
    lines.append("|" + "|".join("---:" if table.columns[index].number else ":---" for index in kept) + "|")
    for row in table.rows:
        cells = (_markdown(_text(row[index])) for index in kept)
        lines.append("| " + " | ".join(f"**{text}**" if row[0].strong else text for text in cells) + " |")
    lines += [f"\n{_markdown(note)}" for note in table.notes]
    return "\n".join(lines) + "\n"


def text(table: Table) -> str:
    """Aligned columns for a terminal, with the caption and the notes."""
    kept = _kept(table)
    head = [table.columns[index].title for index in kept]
    body = [[_text(row[index]) for index in kept] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    right = [table.columns[index].number for index in kept]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in [head, *body]
    ]
    return "\n".join([table.caption, "", *lines, "", *table.notes])


def latex(table: Table, label: str = "") -> str:
    """A `table` environment with the rules of booktabs; letters beyond Latin need XeLaTeX or LuaLaTeX."""
    kept = _kept(table)
    layout = "".join("r" if table.columns[index].number else "l" for index in kept)
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_latex(table.caption)}}}",
        *([f"\\label{{{label}}}"] if label else []),
        f"\\begin{{tabular}}{{{layout}}}",
        "\\toprule",
        " & ".join(_latex(table.columns[index].title) for index in kept) + " \\\\",
        "\\midrule",
    ]
    for row in table.rows:
        cells = (_latex(_text(row[index])) for index in kept)
        lines.append(" & ".join(f"\\textbf{{{text}}}" if row[0].strong else text for text in cells) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    lines += [f"\\par\\smallskip\\footnotesize {_latex(note)}" for note in table.notes]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], caption: str) -> Table:
    """A confusion matrix as a table: counts, with the recall of each class at the end of its row."""
    rows = []
    for index, name in enumerate(classes):
        total = sum(counts[index])
        recall = counts[index][index] / total if total else None
        rows.append(
            (
                Cell(name),
                *(Cell(numbers.count(value), float(value)) for value in counts[index]),
                Cell(numbers.count(total), float(total)),
                Cell(numbers.percent(recall), recall),
            )
        )
    columns = (Column("true class", number=False), *map(Column, classes), Column("images"), Column("recall"))
    return Table(caption, columns, tuple(rows), sortable=False)


def _kept(table: Table) -> list[int]:
    return [index for index, column in enumerate(table.columns) if column.plain]


def _text(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _markdown(text: str) -> str:
    text = text.replace(numbers.SPACE, " ").replace("\n", " ")
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    numbers.SPACE: r"\,",
    numbers.MINUS: r"$-$",
    numbers.DASH: "--",
    numbers.MISSING: "---",
    "\n": " ",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
