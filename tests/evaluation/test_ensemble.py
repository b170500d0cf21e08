"""Averages of runs, counted by hand."""

import numpy as np
import pytest

from emotion.errors import DataError
from emotion.evaluation.ensemble import average
from emotion.evaluation.predictions import Meta, Predictions, from_arrays

ONE = [[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]]
TWO = [[0.1, 0.9], [0.7, 0.3], [0.4, 0.6]]


def table(run: str, probabilities: list[list[float]], ids: str = "abc") -> Predictions:
    return from_arrays(list(ids), [1, 0, 1], probabilities, ("x", "y"), Meta("drawn", "test", run))


def test_the_mean_of_two() -> None:
    found = average([table("one", ONE), table("two", TWO)], "both")
    np.testing.assert_allclose(found.probabilities, [[0.35, 0.65], [0.8, 0.2], [0.3, 0.7]], atol=1e-6)
    assert found.predicted.tolist() == [1, 0, 1]
    assert found.meta == Meta("drawn", "test", "both")


def test_rows_in_another_order_are_put_in_order() -> None:
    turned = Predictions(table("two", TWO).frame.reverse(), ("x", "y"), Meta("drawn", "test", "two"))
    expected = average([table("one", ONE), table("two", TWO)], "both")
    assert average([table("one", ONE), turned], "both").frame.equals(expected.frame)


def test_what_can_t_be_averaged() -> None:
    with pytest.raises(DataError, match="twice"):  # study B's ensemble: two copies of one checkpoint
        average([table("one", ONE), table("one", ONE)], "both")
    with pytest.raises(DataError, match="expected the same images"):
        average([table("one", ONE), table("two", TWO, "abd")], "both")
    with pytest.raises(DataError, match="at least two"):
        average([table("one", ONE)], "both")
