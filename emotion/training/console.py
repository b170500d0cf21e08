"""What a run prints, and keeps in log.txt: a few lines, one an epoch."""

import sys
from datetime import timedelta
from pathlib import Path


class Log:
    """Prints lines and appends them to a file once there is one.

    Args:
        prefix: stands before each printed line.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self._file: Path | None = None
        self._waiting: list[str] = []

    def keep_in(self, file: Path) -> None:
        self._file = file
        with file.open("a") as log:
            log.writelines(f"{line}\n" for line in self._waiting)
        self._waiting.clear()

    def __call__(self, line: str) -> None:
        print(f"{self.prefix}{line}\n", end="", flush=True)  # in one piece: other jobs print, too
        if self._file is None:
            self._waiting.append(line)
        else:
            with self._file.open("a") as log:
                log.write(f"{line}\n")


def epoch_line(row: dict[str, float], epochs: int, left_s: float, best: bool) -> str:
    """One epoch in one line."""
    return (
        f"epoch {int(row['epoch']) + 1:>{len(str(epochs))}}/{epochs}  "
        f"train loss {row['train/loss']:.3f} accuracy {row['train/accuracy']:6.1%}  "
        f"val loss {row['val/loss']:.3f} accuracy {row['val/accuracy']:6.1%} "
        f"balanced {row['val/balanced_accuracy']:6.1%}  "
        f"{row['seconds']:.1f} s, {row['images_per_s']:,.0f} images/s, {duration(left_s)} left{'  *' if best else ''}"
    )


def duration(seconds: float) -> str:
    """
    >>> duration(3725)
    '1:02:05'
    """
    return str(timedelta(seconds=round(seconds)))


def is_terminal() -> bool:
    return sys.stdout.isatty()
