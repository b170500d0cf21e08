"""Tables of the commands, for a terminal or a pipe."""

from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 10_000  # a file or a pipe has room for whole names; rich would cut them to 80 columns


def print_table(table: Table) -> None:
    """Print a table, as wide as it needs to be where no terminal limits it.

    A narrow terminal folds the columns that may wrap. Whole words it is left to break itself: rich would cut them.
    """
    console = Console(markup=False, emoji=False)  # names are no markup
    unlimited = console.options.update(width=_PIPE_WIDTH)
    needed = console.measure(table, options=unlimited).minimum
    width = max(console.width, needed) if console.is_terminal else _PIPE_WIDTH
    console.size = (width, console.height)  # a width alone is ignored where TERM=dumb
    console.print(table)
