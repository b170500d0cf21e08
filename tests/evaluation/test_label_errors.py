import numpy as np
import pytest

from emotion.evaluation import label_errors
from emotion.evaluation.predictions import Meta, Predictions, from_arrays

CLASSES = ("anger", "fear", "neutral")


def table(labels: list[int], probabilities: np.ndarray) -> Predictions:
    ids = [f"{row}" for row in range(len(labels))]
    return from_arrays(ids, labels, probabilities, CLASSES, Meta("drawn", "val", "run"))


def test_a_hand_count() -> None:
    p = np.array(
        [
            [0.8, 0.1, 0.1],  # anger, confidently: threshold (0.8 + 0.4 + 0.3) / 3 = 0.5
            [0.4, 0.6, 0.0],  # labelled anger, p(fear) 0.6 >= 0.55
            [0.3, 0.5, 0.2],  # labelled anger, below every threshold: not counted
            [0.1, 0.9, 0.0],  # fear: threshold (0.9 + 0.2) / 2 = 0.55
            [0.7, 0.2, 0.1],  # labelled fear, p(anger) 0.7 >= 0.5
            [0.0, 0.0, 1.0],  # neutral: threshold 1
        ]
    )
    found = label_errors.find(table([0, 0, 0, 1, 1, 2], p))
    np.testing.assert_allclose(found.thresholds, [0.5, 0.55, 1.0], rtol=1e-6)
    assert found.joint.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert found.rows.tolist() == [4, 1]  # margins −0.5 and −0.2
    assert found.suggested.tolist() == [0, 1]
    np.testing.assert_allclose(found.margins, [-0.5, -0.2], rtol=1e-6)
    # half of the 3 anger labels and half of the 2 fear labels, of 6
    assert found.noise == pytest.approx((1.5 + 1.0) / 6)


def test_planted_errors_are_found_first() -> None:
    """Wrong labels of which we know: a network that is right nine times of ten ranks them before the others."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 3000)
    p = rng.dirichlet(np.ones(3), 3000) * 0.5
    p[np.arange(3000), truth] += 0.5
    wrong = rng.random(3000) < 0.06
    labels = np.where(wrong, (truth + 1) % 3, truth)
    found = label_errors.find(table(labels.tolist(), p))
    first = found.rows[: wrong.sum()]
    assert wrong[first].mean() > 0.9
    assert (found.suggested[: wrong.sum()] == truth[first]).mean() > 0.9
    assert abs(found.noise - wrong.mean()) < 0.02


def test_a_class_without_images_is_nobodys_suggestion() -> None:
    p = np.array([[0.2, 0.2, 0.6], [0.3, 0.7, 0.0]])
    found = label_errors.find(table([0, 1], p))
    assert np.isinf(found.thresholds[2])
    assert found.joint[:, 2].tolist() == [0, 0, 0]
