import math

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from emotion.errors import DataError
from emotion.evaluation.calibration import (
    FLATTEST,
    SHARPEST,
    Threshold,
    answered,
    aurc,
    fit_temperature,
    reliability,
    risk_coverage,
    threshold_for,
)
from emotion.evaluation.metrics import compute
from emotion.evaluation.predictions import Predictions
from tests.evaluation.tables import CLASSES, simulated, softmax, table

K = len(CLASSES)


def overconfident(count: int, seed: int, factor: float, part: str = "val") -> Predictions:
    """Labels drawn from calibrated probabilities whose logits were multiplied by `factor` afterwards."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(count, K))
    true = softmax(logits)
    labels = (rng.uniform(size=(count, 1)) < true.cumsum(axis=1)).argmax(axis=1)
    return table(labels, softmax(factor * logits), part=part)  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_a_known_factor(factor: float) -> None:
    found = fit_temperature(overconfident(20_000, 0, factor))
    assert found.value == pytest.approx(factor, rel=0.03)
    assert not found.at_bound
    test = overconfident(20_000, 1, factor, part="test")
    scaled = found.apply(test)
    before = compute(test.labels, test.probabilities, CLASSES)
    after = compute(scaled.labels, scaled.probabilities, CLASSES)
    assert after["ece"] < 0.012
    assert after["accuracy"] == before["accuracy"]
    assert (scaled.predicted == test.predicted).all()
    assert scaled.meta == test.meta


def test_the_temperature_equals_a_minimisation_of_the_log_loss() -> None:
    found = overconfident(500, 2, 2.0)
    fitted = fit_temperature(found)

    def log_loss(temperature: float) -> float:
        scaled = softmax(np.log(found.probabilities) / temperature)
        return float(-np.log(scaled[np.arange(500), found.labels]).mean())

    best = minimize_scalar(log_loss, bounds=(0.2, 10), method="bounded", options={"xatol": 1e-9})
    assert fitted.value == pytest.approx(best.x, rel=1e-5)
    assert fitted.log_loss_after == pytest.approx(best.fun)
    assert fitted.log_loss_before == pytest.approx(log_loss(1))
    assert fitted.log_loss_after < fitted.log_loss_before
    scaled = fitted.apply(found)
    assert compute(scaled.labels, scaled.probabilities, CLASSES)["log_loss"] == pytest.approx(best.fun)


def test_a_perfect_or_hopeless_validation_part_has_no_finite_temperature() -> None:
    labels = np.arange(20) % 2
    right = table(labels, 0.6 * np.eye(2)[labels] + 0.2, ("a", "b"), part="val")
    wrong = table(1 - labels, 0.6 * np.eye(2)[labels] + 0.2, ("a", "b"), part="val")
    assert (fit_temperature(right).value, fit_temperature(right).at_bound) == (pytest.approx(SHARPEST), True)
    assert (fit_temperature(wrong).value, fit_temperature(wrong).at_bound) == (pytest.approx(FLATTEST), True)


def test_a_probability_of_zero_can_be_scaled() -> None:
    hard = table([0, 1, 0], [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], ("a", "b"), part="val")
    found = fit_temperature(hard)
    assert found.log_loss_before == pytest.approx(-math.log(np.finfo(np.float32).tiny) / 3, rel=1e-3)
    assert found.log_loss_after < found.log_loss_before / 10
    assert 0 < found.apply(hard).probabilities[1, 1] < 0.5


def test_nothing_is_fitted_on_the_test_part() -> None:
    test = simulated(50)
    with pytest.raises(DataError, match="validation predictions to fit a temperature .* test part of run"):
        fit_temperature(test)
    with pytest.raises(DataError, match="validation predictions to fit a threshold"):
        threshold_for(test, 0.1)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_bins_of_the_diagram_give_the_calibration_error(adaptive: bool) -> None:
    found = simulated(500, seed=3)
    bins = reliability(found.labels, found.probabilities, adaptive=adaptive)
    gap = ((bins["accuracy"] - bins["confidence"]).abs() * bins["count"]).sum() / 500
    name = "ece_adaptive" if adaptive else "ece"
    assert gap == pytest.approx(compute(found.labels, found.probabilities, CLASSES)[name])
    assert bins["count"].sum() == 500
    assert bins.height == 15


def test_a_bin_holds_what_lies_between_its_edges() -> None:
    found = simulated(300, seed=4)
    right = found.predicted == found.labels
    bins = reliability(found.labels, found.probabilities, bins=10)
    assert bins["low"].to_list() == pytest.approx([part / 10 for part in range(10)])
    for row in bins.iter_rows(named=True):
        inside = (found.confidence > row["low"]) & (found.confidence <= row["high"])
        assert row["count"] == inside.sum()
        if not inside.any():
            assert row["confidence"] is None
            assert row["accuracy_low"] is None
            continue
        assert row["confidence"] == pytest.approx(found.confidence[inside].mean())
        assert row["accuracy"] == pytest.approx(right[inside].mean())
        ends = binomtest(int(right[inside].sum()), int(inside.sum())).proportion_ci(method="wilson")
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((ends.low, ends.high))
    assert bins.filter(pl.col("count") == 0).height > 0
    even = reliability(found.labels, found.probabilities, bins=10, adaptive=True)
    assert even["count"].to_list() == [30] * 10


def test_risk_and_coverage_equal_a_loop_over_thresholds() -> None:
    found = simulated(120, seed=5)
    rounded = found.probabilities.round(2) + 1e-9  # ties
    rounded /= rounded.sum(axis=1, keepdims=True)
    curve = risk_coverage(found.labels, rounded)
    confidence, wrong = rounded.max(axis=1), rounded.argmax(axis=1) != found.labels
    assert curve["threshold"].to_list() == sorted(set(confidence), reverse=True)
    for threshold, coverage, risk, count in curve.iter_rows():
        given = confidence >= threshold
        assert coverage == pytest.approx(given.mean())
        assert risk == pytest.approx(wrong[given].mean())
        assert count == given.sum()


def test_the_area_is_the_mean_risk_over_all_coverages() -> None:
    found = simulated(150, seed=6)
    order = np.argsort(-found.confidence)
    wrong = (found.predicted != found.labels)[order]
    risks = [wrong[: count + 1].mean() for count in range(150)]
    assert aurc(found.labels, found.probabilities) == pytest.approx(np.mean(risks))
    blind = table(found.labels, np.full((150, K), 1 / K))
    assert aurc(blind.labels, blind.probabilities) == pytest.approx(1 - (blind.labels == 0).mean())


@pytest.mark.parametrize("error", [0.0, 0.1, 0.3, 0.99])
def test_the_threshold_answers_as_many_as_the_error_allows(error: float) -> None:
    found = simulated(200, seed=7, part="val")
    wrong = found.predicted != found.labels
    best = max(
        (
            (found.confidence >= threshold).mean()
            for threshold in found.confidence
            if wrong[found.confidence >= threshold].mean() <= error
        ),
        default=0.0,
    )
    chosen = threshold_for(found, error)
    assert chosen.coverage == pytest.approx(best)
    assert chosen.bound is None
    if best:
        assert answered(found, chosen) == pytest.approx((chosen.coverage, chosen.error))


def test_a_promised_error_is_kept_on_new_images() -> None:
    broken, coverages = 0, []
    new = simulated(50_000, seed=1)
    for seed in range(150):
        chosen = threshold_for(simulated(300, seed=100 + seed, part="val"), 0.2, confidence=0.9)
        assert chosen.bound is None or chosen.error < chosen.bound <= 0.2
        coverage, error = answered(new, chosen)
        coverages.append(coverage)
        broken += error > 0.2
    assert broken / 150 <= 0.1
    assert np.mean(coverages) > 0.3


def test_the_bound_is_clopper_and_pearsons_for_all_thresholds_tried() -> None:
    found = simulated(400, seed=8, part="val")
    chosen = threshold_for(found, 0.3, confidence=0.9)
    given = found.confidence >= chosen.value
    mistakes = int((found.predicted != found.labels)[given].sum())
    two_sided = 1 - 2 * 0.1 / 20
    assert chosen.bound == pytest.approx(
        binomtest(mistakes, int(given.sum())).proportion_ci(two_sided, "exact").high
    )


def test_a_promise_that_cannot_be_kept_answers_nothing() -> None:
    few = simulated(8, seed=9, part="val")
    chosen = threshold_for(few, 0.01, confidence=0.95)
    assert (chosen.value, chosen.coverage) == (math.inf, 0)
    assert math.isnan(chosen.error)
    coverage, error = answered(few, chosen)
    assert coverage == 0
    assert math.isnan(error)
    assert answered(few, Threshold(0.0, 1.0, 0.0))[0] == 1


def test_wrong_input_is_refused() -> None:
    found = simulated(10, part="val")
    with pytest.raises(DataError, match="error from 0 to 1 .* found 5"):
        threshold_for(found, 5)
    with pytest.raises(DataError, match="confidence between 0 and 1"):
        threshold_for(found, 0.1, confidence=95)
    with pytest.raises(DataError, match="finite"):
        reliability([0], [[np.nan, 1.0]])
    with pytest.raises(DataError, match="shapes"):
        risk_coverage([0, 1], [[0.5, 0.5]])
