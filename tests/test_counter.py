"""Random numbers that are a function of what they are for."""

import numpy as np
from scipy.stats import chisquare

from emotion import counter


def test_a_stream_is_splitmix64() -> None:
    """The first numbers of the generator's reference implementation (Vigna's splitmix64.c) with the seed 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    found = counter.uniform(np.array([1234567], np.uint64), 4)[0]
    assert found.tolist() == [(number >> 11) / 2**53 for number in published]


def test_mix_equals_python_s_own_arithmetic() -> None:
    def mixed(*numbers: int) -> int:
        state = 0
        for number in numbers:
            state = (state + number + 0x9E3779B97F4A7C15) % 2**64
            state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
            state ^= state >> 31
        return state

    keys = np.array([0, 1, 2**63 + 5, 2**64 - 1], np.uint64)
    draws = np.array([0, 3, 1, 19])
    expected = [mixed(7, 2, int(key), int(draw)) for key, draw in zip(keys, draws, strict=True)]
    assert counter.mix(7, 2, keys, draws).tolist() == expected
    assert int(counter.mix(7, 2, 2**64 - 1, 19)) == expected[-1]


def test_neighbouring_counters_give_unrelated_numbers() -> None:
    streams = counter.mix(0, np.arange(50)[:, None], np.arange(200)[None, :]).ravel()
    assert len(set(streams.tolist())) == 10_000
    drawn = counter.uniform(streams, 3)
    for column in drawn.T:
        assert chisquare(np.histogram(column, 20, (0, 1))[0]).pvalue > 1e-4
    assert abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.04
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.04
