"""Curves and the choice of mistakes against independent computations."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from emotion.evaluation.predictions import Meta, Predictions, from_arrays
from emotion.reporting import curves, mistakes
from tests.reporting import fakes


@pytest.mark.parametrize("digits", [8, 1])  # 1: many equal scores
def test_roc_is_that_of_scikit_learn(digits: int) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(500) < 0.2
    scores = np.round(rng.normal(size=500) + positive, digits)
    x, y = curves.roc(positive, scores) or pytest.fail("no curve")
    expected_x, expected_y, _ = roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(x, expected_x)
    np.testing.assert_allclose(y, expected_y)


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(5000) < 0.1
    scores = rng.normal(size=5000) + 1.5 * positive
    x, y = curves.thinned(*(curves.roc(positive, scores) or pytest.fail("no curve")), 60)
    assert len(x) <= 60
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(positive, scores), abs=0.003)


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_no_curve_without_both_kinds(positive: list[bool]) -> None:
    assert curves.roc(np.array(positive), np.array([0.1, 0.2])) is None


def table(count: int = 300) -> Predictions:
    labels = fakes.labels_of(count, fakes.FER2013)
    scores = fakes.probabilities_of(labels, fakes.FER2013)
    ids = [f"image_{row}" for row in range(count)]
    return from_arrays(ids, labels, scores, fakes.FER2013, Meta("fer2013", "test", "run"))


def test_most_confident_mistakes() -> None:
    found = table()
    wrong = [
        (-max(p), row)
        for row, (p, label) in enumerate(zip(found.probabilities, found.labels, strict=True))
        if int(np.argmax(p)) != label
    ]
    assert mistakes.most_confident(found, 10).tolist() == [row for _, row in sorted(wrong)[:10]]


def test_near_misses_have_the_label_second() -> None:
    found = table()
    rows = mistakes.near_misses(found, 10)
    assert len(rows) == 10
    gaps = []
    for row in rows:
        order = np.argsort(-found.probabilities[row])
        assert order[1] == found.labels[row]
        gaps.append(found.probabilities[row, order[0]] - found.probabilities[row, order[1]])
    assert gaps == sorted(gaps)


def test_pairs_are_the_largest_cells() -> None:
    found = table()
    for label, answer, total, rows in mistakes.by_pair(found, 3, 4):
        inside = (found.labels == label) & (found.predicted == answer)
        assert label != answer
        assert total == inside.sum()
        assert inside[rows].all()
        assert len(rows) == min(4, total)


def test_nothing_wrong_is_nothing_to_show() -> None:
    labels = np.array([0, 1, 2])
    perfect = from_arrays(["a", "b", "c"], labels, np.eye(3), ["x", "y", "z"], Meta("d", "test", "r"))
    assert len(mistakes.most_confident(perfect, 5)) == 0
    assert len(mistakes.near_misses(perfect, 5)) == 0
    assert mistakes.by_pair(perfect, 3, 5) == []
