"""`emotion compare RUN…`"""

import sys
from pathlib import Path
from typing import Literal

from emotion.commands.named import runs_in
from emotion.reporting import tables
from emotion.reporting.ranking import rank
from emotion.training.progress import resampling

Format = Literal["text", "markdown", "latex", "csv"]


def compare(paths: list[Path], metric: str, form: Format, test: bool) -> None:
    """Print the ranked table. What could not be compared, and how to read the rest, goes to standard error."""
    with resampling():
        found = rank(runs_in(paths), metric, "test" if test else "val")
    if form == "csv":
        print(found.comparison.ranking.write_csv(), end="")
        print(found.comparison.sentence, file=sys.stderr)
    else:
        write = {"text": tables.text, "markdown": tables.markdown, "latex": tables.latex}[form]
        shown = [found.table] if found.folds is None else [found.table, found.folds]
        print("\n".join(write(table) for table in shown))
    for note in found.notes:
        print(note, file=sys.stderr)
