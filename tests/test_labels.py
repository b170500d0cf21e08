import numpy as np
import pytest

from emotion.errors import DataError
from emotion.labels import EXPRESSIONS, choose, shared

FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
RAF_DB = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Angry", "Neutral")


def test_maps_go_by_name_not_by_number() -> None:
    ours, theirs = shared(FER2013, RAF_DB)
    assert ours.classes == theirs.classes == FER2013
    assert [FER2013[k] for k in theirs.targets] == [
        "surprise",
        "fear",
        "disgust",
        "happiness",
        "sadness",
        "anger",
        "neutral",
    ]


def test_what_only_one_side_has_is_left_out() -> None:
    eight, seven = shared(EXPRESSIONS, FER2013)
    assert set(eight.classes) == set(FER2013)
    assert [EXPRESSIONS[old] for old in eight.left_out] == ["contempt"]
    assert seven.left_out == ()
    assert seven.labels(np.arange(7)).tolist() == [eight.classes.index(name) for name in FER2013]


def test_probabilities_are_rescaled_over_what_is_left() -> None:
    eight, _ = shared(EXPRESSIONS, FER2013)
    given = np.random.default_rng(0).dirichlet(np.ones(8), 50)
    expected = np.delete(given, EXPRESSIONS.index("contempt"), axis=1)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(eight.probabilities(given), expected)
    certain = np.eye(8)[[EXPRESSIONS.index("contempt")]]
    np.testing.assert_allclose(eight.probabilities(certain), np.full((1, 7), 1 / 7))


def test_merged_probabilities_are_sums() -> None:
    merged = choose(FER2013, {"negative": ["angry", "disgust", "fear", "sad"], "other": ["happy", "neutral"]})
    given = np.random.default_rng(0).dirichlet(np.ones(7), 20)
    negative, other = given[:, [0, 1, 2, 4]].sum(axis=1), given[:, [3, 6]].sum(axis=1)
    np.testing.assert_allclose(merged.probabilities(given)[:, 0], negative / (negative + other))


def test_names_that_are_no_expressions_match_themselves() -> None:
    ours, theirs = shared(("horizontal", "vertical", "anger"), ("Vertical", "angry"))
    assert ours.classes == theirs.classes == ("vertical", "anger")


def test_nothing_in_common_is_said() -> None:
    with pytest.raises(DataError, match="share none"):
        shared(("a", "b"), ("c", "d"))
    with pytest.raises(DataError, match="share anger"):
        shared(("anger", "b"), ("angry", "d"))
