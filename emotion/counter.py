"""Random numbers that are a function of what they are for: SplitMix64 (Steele, Lea & Flood 2014) over counters.

Nothing is drawn from a generator with a history, so neither the order of calls nor processes nor an interruption
changes a number, and a whole batch's are computed at once.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_STEP = np.uint64(0x9E3779B97F4A7C15)


def mix(*numbers: ArrayLike) -> Any:
    """One 64-bit number for each combination of `numbers`, uint64 of their broadcast shape.

    Args:
        numbers: whole numbers from 0 to 2**64 − 1, or arrays of them.

    >>> int(mix(0, 1)) != int(mix(1, 0))
    True
    """
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64
        for number in numbers:
            state = _finish(state + np.asarray(number).astype(np.uint64) + _STEP)
    return state


def uniform(streams: np.ndarray, count: int) -> np.ndarray:
    """The first `count` numbers of each stream, (N, count) float64 in [0, 1).

    Args:
        streams: (N,) uint64, what the streams are seeded with, as made by `mix`.
    """
    steps = np.arange(1, count + 1, dtype=np.uint64) * _STEP
    return (_finish(streams[:, None] + steps) >> np.uint64(11)) * 2.0**-53


def _finish(state: Any) -> Any:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
