"""What a run prints, and keeps in log.txt: a few lines, one an epoch."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median

_RECENT = 5


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
    """One epoch in a line of about 100 characters; after `val` loss and accuracy as after `train`.

    >>> row = {"epoch": 3, "train/loss": 1.234, "train/accuracy": 0.567, "val/loss": 1.345, "val/accuracy": 0.543,
    ...        "val/balanced_accuracy": 0.501, "seconds": 12.34, "images_per_s": 1234.5}
    >>> epoch_line(row, 20, left_s=200, best=True)
    'epoch  4/20  train loss 1.234 acc 56.7%  val 1.345 54.3% bal 50.1%  12.3 s 1,234 img/s 0:03:20 left *'
    """
    return (
        f"epoch {int(row['epoch']) + 1:>{len(str(epochs))}}/{epochs}  "
        f"train loss {row['train/loss']:.3f} acc {row['train/accuracy']:5.1%}  "
        f"val {row['val/loss']:.3f} {row['val/accuracy']:5.1%} bal {row['val/balanced_accuracy']:5.1%}  "
        f"{row['seconds']:.1f} s {row['images_per_s']:,.0f} img/s {duration(left_s)} left{' *' if best else ''}"
    )


def remaining_s(history: Sequence[dict[str, float]], epochs: int) -> float:
    """Seconds that the remaining epochs will take: the median of the last ones each, whatever held up a single one.

    >>> remaining_s([{"seconds": seconds} for seconds in (900.0, 10.0, 11.0, 12.0)], epochs=6)
    23.0
    """
    return median(row["seconds"] for row in history[-_RECENT:]) * (epochs - len(history))


def duration(seconds: float) -> str:
    """
    >>> duration(3725)
    '1:02:05'
    """
    return str(timedelta(seconds=round(seconds)))


def is_terminal() -> bool:
    return sys.stdout.isatty()
