"""How far the preparation of a data set is."""

import sys
import time
from collections.abc import Callable


def preparing(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """A rewritten line in a terminal, and one line at the end everywhere."""
    started = time.perf_counter()
    terminal = sys.stdout.isatty()

    def progress(done: int, total: int) -> None:
        seconds = time.perf_counter() - started
        if done < total:
            if terminal:
                left = seconds / done * (total - done)
                print(f"\r{done:,} of {total:,} images, {left:.0f} s left ", end="", flush=True)
            return
        if terminal:
            print("\r\033[K", end="")
        say(f"Prepared {total:,} images in {seconds:.1f} s.")

    return progress
