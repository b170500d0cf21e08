"""How far a longer piece of work is: a line that rewrites itself in a terminal, one line in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emotion.training.console import duration

_EVERY_S = 0.2


def progress(say: Callable[[str], None], did: str, things: str) -> Callable[[int, int], None]:
    """What is called with (done, total) as the work goes on, and says `did total things in …` at its end.

    Args:
        say: where the one line goes.
        did: "Prepared", "Scored" …
        things: "images", "resamples" …
    """
    started = shown = time.perf_counter()
    terminal = sys.stdout.isatty()

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.perf_counter()
        if done >= total:
            if terminal:
                print("\r\033[K", end="")
            say(f"{did} {total:,} {things} in {now - started:.1f} s.")
        elif terminal and done and now - shown >= _EVERY_S:
            shown = now
            left = duration((now - started) / done * (total - done))
            print(f"\r{did} {done:,} of {total:,} {things}, {left} left \033[K", end="", flush=True)

    return show


def counting(say: Callable[[str], None], did: str, things: str, total: int) -> Callable[[int], None]:
    """As `progress`, for work that knows only how much is done."""
    told = progress(say, did, things)
    return lambda done: told(done, total)


def preparing(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """The progress of making a store."""
    return progress(say, "Prepared", "images")


@contextmanager
def resampling() -> Iterator[None]:
    """In a terminal, how far each longer bootstrap inside the block is; in a log, nothing."""
    from emotion.evaluation.intervals import watched  # slow to import, and others need only a line

    told: list[Callable[[int, int], None]] = []

    def show(done: int, total: int) -> None:
        if not done:
            told[:] = [progress(lambda line: None, "Drew", "resamples")]
        told[0](done, total)

    with watched(show):
        yield
