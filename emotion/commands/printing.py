"""Tables of the commands, for a terminal or a pipe."""

from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 10_000  # a file or a pipe has room for whole names; rich would cut them to 80 columns


def print_table(table: Table) -> None:
    """Print a table, as wide as it needs to be where no terminal limits it."""
    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(table)
