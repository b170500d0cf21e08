import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from emotion.errors import DataError
from emotion.evaluation.metrics import (
    Evaluator,
    adaptive_bins,
    compute,
    confusion_matrix,
    fixed_bins,
    from_confusion,
    metric_names,
    to_json,
    trust,
)
from tests.evaluation.tables import CLASSES, answers

K = len(CLASSES)


def case(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities: ordinary ones, full of ties, or without some class."""
    rng = np.random.default_rng(7)
    labels = rng.choice(K, size=400, p=np.linspace(3, 1, K) / np.linspace(3, 1, K).sum())
    probabilities = answers(labels, rng)
    if name == "ties":
        coarse = rng.integers(1, 4, size=(len(labels), K)) + 3 * (np.eye(K)[labels] * rng.integers(0, 2))
        probabilities = coarse / coarse.sum(axis=1, keepdims=True)
    if name == "never predicted":
        probabilities[:, 2] = 0
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    if name == "absent class":
        labels[labels == 2] = 3
    if name == "two images":
        return labels[:2], probabilities[:2]
    return labels, probabilities


CASES = ("ordinary", "ties", "never predicted", "absent class", "two images")


def expected(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """scikit-learn's values, NaN where a class is missing and scikit-learn would warn."""
    predicted = probabilities.argmax(axis=1)
    every = {"labels": list(range(K)), "zero_division": 0, "sample_weight": weights}
    found = {
        "accuracy": reference.accuracy_score(labels, predicted, sample_weight=weights),
        "f1_macro": reference.f1_score(labels, predicted, average="macro", **every),
        "f1_weighted": reference.f1_score(labels, predicted, average="weighted", **every),
        "kappa": reference.cohen_kappa_score(labels, predicted, sample_weight=weights),
        "mcc": reference.matthews_corrcoef(labels, predicted, sample_weight=weights),
        "log_loss": reference.log_loss(labels, probabilities, labels=range(K), sample_weight=weights),
        "brier": reference.brier_score_loss(labels, probabilities, labels=range(K), sample_weight=weights),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "y_pred contains classes not in y_true"
        found["balanced_accuracy"] = reference.balanced_accuracy_score(
            labels, predicted, sample_weight=weights
        )
    tables = reference.precision_recall_fscore_support(labels, predicted, average=None, **every)
    for name, values in zip(("precision", "recall", "f1", "support"), tables, strict=True):
        found |= {f"{name}/{label}": values[k] for k, label in enumerate(CLASSES)}
    for name, score in (
        ("auroc", reference.roc_auc_score),
        ("average_precision", reference.average_precision_score),
    ):
        values = [
            score(labels == k, probabilities[:, k], sample_weight=weights) if (labels == k).any() else np.nan
            for k in range(K)
        ]
        found |= {f"{name}/{label}": values[k] for k, label in enumerate(CLASSES)}
        found[f"{name}_macro"] = np.nanmean(values)
    return found


def calibration_error(
    confidence: np.ndarray, right: np.ndarray, weights: np.ndarray, edges: list[float]
) -> float:
    """The definition, bin by bin: weight times the gap between mean confidence and accuracy."""
    total = 0.0
    for low, high in zip([-np.inf, *edges], [*edges, np.inf], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if weights[inside].sum():
            gap = np.average(confidence[inside], weights=weights[inside]) - np.average(
                right[inside], weights=weights[inside]
            )
            total += weights[inside].sum() / weights.sum() * abs(gap)
    return total


def equal_mass_edges(confidence: np.ndarray, weights: np.ndarray) -> list[float]:
    """The smallest value at which 1/15, 2/15 … of the weight is reached."""
    repeated = np.sort(np.repeat(confidence, weights))
    return [repeated[math.ceil(len(repeated) * part / 15) - 1] for part in range(1, 15)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_equal_scikit_learn(name: str, weighted: bool) -> None:
    labels, probabilities = case(name)
    weights = np.ones(len(labels), int)
    if weighted:
        weights = np.random.default_rng(3).integers(1, 4, size=len(labels))
    found = Evaluator(labels, probabilities, CLASSES)(weights[:, None].astype(float))
    for metric, value in expected(labels, probabilities, weights).items():
        np.testing.assert_allclose(found[metric], [value], rtol=1e-9, atol=1e-12, err_msg=metric)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_calibration_errors_equal_their_definition(name: str, weighted: bool) -> None:
    labels, probabilities = case(name)
    weights = np.ones(len(labels), int)
    if weighted:
        weights = np.random.default_rng(4).integers(0, 4, size=len(labels)).clip(min=len(labels) < 9)
    found = Evaluator(labels, probabilities, CLASSES)(weights[:, None].astype(float))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    equal_width = [part / 15 for part in range(1, 15)]
    assert found["ece"][0] == pytest.approx(calibration_error(confidence, right, weights, equal_width))
    edges = sorted(set(equal_mass_edges(confidence, weights)))
    assert found["ece_adaptive"][0] == pytest.approx(calibration_error(confidence, right, weights, edges))
    classwise = [calibration_error(probabilities[:, k], labels == k, weights, equal_width) for k in range(K)]
    assert found["ece_classwise"][0] == pytest.approx(np.mean(classwise))


def test_top2_equals_scikit_learn_where_nothing_is_tied() -> None:
    labels, probabilities = case("ordinary")
    found = compute(labels, probabilities, CLASSES)["top2_accuracy"]
    assert found == pytest.approx(reference.top_k_accuracy_score(labels, probabilities, k=2))


def test_top2_takes_the_first_of_equals_as_accuracy_does() -> None:
    third = [[1 / 3, 1 / 3, 1 / 3]] * 3
    found = compute([0, 1, 2], third, ("a", "b", "c"))
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["top2_accuracy"] == pytest.approx(2 / 3)


def test_the_names_are_those_of_the_contract() -> None:
    labels, probabilities = case("ordinary")
    per_label = {
        f"{name}/{label}"
        for name in ("precision", "recall", "f1", "support", "auroc", "average_precision")
        for label in CLASSES
    }
    whole = {
        *("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "kappa", "mcc", "log_loss", "brier"),
        *("ece", "ece_adaptive", "ece_classwise", "auroc_macro", "average_precision_macro", "top2_accuracy"),
    }
    found = compute(labels, probabilities, CLASSES)
    assert set(found) == per_label | whole == set(metric_names(CLASSES))
    assert all(type(value) is float for value in found.values())


def test_an_absent_class_counts_as_zero_in_f1_and_not_at_all_in_auroc() -> None:
    labels, probabilities = case("absent class")
    found = compute(labels, probabilities, CLASSES)
    scores = [found[f"f1/{label}"] for label in CLASSES]
    assert found["f1/fear"] == 0
    assert found["f1_macro"] == pytest.approx(sum(scores) / K)
    assert math.isnan(found["auroc/fear"])
    assert math.isnan(found["average_precision/fear"])
    others = [found[f"auroc/{label}"] for label in CLASSES if label != "fear"]
    assert found["auroc_macro"] == pytest.approx(sum(others) / (K - 1))
    recalls = [found[f"recall/{label}"] for label in CLASSES if label != "fear"]
    assert found["balanced_accuracy"] == pytest.approx(sum(recalls) / (K - 1))


def test_one_image_and_one_class() -> None:
    found = compute([1], [[0.2, 0.8]], ("a", "b"))
    assert found["accuracy"] == found["balanced_accuracy"] == found["average_precision/b"] == 1
    assert found["f1_macro"] == 0.5
    assert math.isnan(found["kappa"])
    assert math.isnan(found["auroc_macro"])
    assert found["mcc"] == 0
    assert to_json(found)["kappa"] is None
    assert to_json(found)["accuracy"] == 1.0


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    found = compute([1, 0], [[1.0, 0.0], [1.0, 0.0]], ("a", "b"))
    assert found["log_loss"] == pytest.approx(-math.log(np.finfo(float).eps) / 2)


def test_many_columns_of_weights_equal_repeated_rows() -> None:
    labels, probabilities = case("ties")
    weights = np.random.default_rng(1).integers(0, 4, size=(len(labels), 5))
    found = Evaluator(labels, probabilities, CLASSES, dtype=np.float32)(weights.astype(np.float32))
    for column in range(5):
        rows = np.repeat(np.arange(len(labels)), weights[:, column])
        for name, value in compute(labels[rows], probabilities[rows], CLASSES).items():
            assert found[name][column] == pytest.approx(value, rel=2e-5, abs=2e-6, nan_ok=True), name


def test_wanted_names_alone_are_computed() -> None:
    labels, probabilities = case("ordinary")
    evaluate = Evaluator(labels, probabilities, CLASSES, ["f1_macro", "accuracy"])
    assert list(evaluate(np.ones((len(labels), 1)))) == ["f1_macro", "accuracy"]
    with pytest.raises(DataError, match=r"found uar\."):
        Evaluator(labels, probabilities, CLASSES, ["uar"])


def test_the_confusion_matrix_has_true_classes_in_rows() -> None:
    labels, probabilities = case("ordinary")
    predicted = probabilities.argmax(axis=1)
    found = confusion_matrix(labels, predicted, K)
    assert (found == reference.confusion_matrix(labels, predicted, labels=range(K))).all()
    values = from_confusion(found, CLASSES)
    assert float(values["f1_macro"]) == compute(labels, probabilities, CLASSES)["f1_macro"]


def test_a_published_confusion_matrix_gives_the_published_figures() -> None:
    # MobileNetV2 of the ExpW study: disgust and fear are never predicted
    counts = np.zeros((7, 7))
    counts[:, :5] = [
        [5397, 517, 109, 215, 46],
        [784, 4620, 91, 72, 15],
        [328, 108, 760, 68, 91],
        [871, 141, 64, 900, 71],
        [188, 47, 72, 41, 396],
        [512, 50, 34, 79, 59],
        [24, 14, 96, 36, 38],
    ]
    found = from_confusion(
        counts, ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
    )
    assert counts.sum() == 16954
    assert round(float(found["balanced_accuracy"]), 3) == 0.460
    assert round(float(found["accuracy"]), 3) == 0.712


def test_trust_is_bayes_theorem() -> None:
    # 85 % right in each of two classes, the rare one with a prior of 0.0007: study C's appendix
    confusion = [[85, 15], [15, 85]]
    rare = 0.85 * 0.0007 / (0.85 * 0.0007 + 0.15 * 0.9993)
    assert trust(confusion, [0.0007, 0.9993])[0] == pytest.approx(rare)
    assert round(rare, 4) == 0.0040
    assert trust(confusion, [7, 9993])[0] == pytest.approx(rare)


def test_trust_at_the_test_sets_own_shares_is_the_precision() -> None:
    labels, probabilities = case("ordinary")
    found = compute(labels, probabilities, CLASSES)
    predicted = probabilities.argmax(axis=1)
    counts = confusion_matrix(labels, predicted, K)
    np.testing.assert_allclose(trust(counts), [found[f"precision/{name}"] for name in CLASSES])
    prior = np.arange(1, K + 1)
    for k in range(K):
        joint = [counts[j, k] / counts[j].sum() * prior[j] / prior.sum() for j in range(K)]
        assert trust(counts, prior)[k] == pytest.approx(joint[k] / sum(joint))


def test_trust_is_unknown_for_what_never_happened() -> None:
    found = trust([[5, 0, 1], [2, 0, 4], [0, 0, 0]])
    assert found[0] == pytest.approx(5 / 7)
    assert np.isnan(found[1:]).all()
    with pytest.raises(DataError, match="prior of 3 shares"):
        trust(np.eye(3), [1, -1, 1])
    with pytest.raises(DataError, match="prior of 3 shares"):
        trust(np.eye(3), [1, 1])


def test_bins_are_closed_above() -> None:
    assert fixed_bins(np.array([0.0, 1 / 15, 0.0667, 0.2, 0.2001, 1.0])).tolist() == [0, 0, 1, 2, 3, 14]
    assert adaptive_bins(np.arange(6.0), bins=3).tolist() == [0, 0, 1, 1, 2, 2]
    assert adaptive_bins(np.array([1.0, 1.0, 1.0, 1.0, 2.0, 3.0]), bins=3).tolist() == [0, 0, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("labels", "probabilities", "complaint"),
    [
        ([0, 1], [[0.5, 0.5]], "shapes"),
        ([], np.zeros((0, 2)), "at least one image"),
        ([0], [[0.2, 0.3, 0.5]], r"\(N, 2\)"),
        ([2], [[0.5, 0.5]], "from 0 to 1"),
        ([-1], [[0.5, 0.5]], "from 0 to 1"),
        ([0.5], [[0.5, 0.5]], "whole numbers"),
        ([0], [[np.nan, 0.5]], "finite"),
        ([0], [[0.7, 0.5]], "sum to 1"),
        ([0], [[3.0, -2.0]], "logits"),
    ],
)
def test_wrong_input_is_refused(labels: list[float], probabilities: object, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        compute(labels, probabilities, ("a", "b"))  # type: ignore[arg-type]
