"""A published accuracy beside ours: by hand, by simulation, and the verdicts."""

import math

import numpy as np
import pytest
from scipy import stats

from emotion.errors import DataError
from emotion.evaluation.predictions import Meta, Predictions, from_arrays
from emotion.evaluation.published import Measured, beside, crossed, measure


def table(hits: list[int], run: str = "a", fold: int | None = None, part: str = "test") -> Predictions:
    """Images of class 0 that are answered right (1) or wrong (0)."""
    probabilities = [[0.9, 0.1] if hit else [0.1, 0.9] for hit in hits]
    ids = [f"{'' if fold is None else fold}i{row}" for row in range(len(hits))]
    return from_arrays(ids, [0] * len(hits), probabilities, ("x", "y"), Meta("drawn", part, run), fold=fold)  # type: ignore[arg-type]


def test_one_run_by_hand() -> None:
    found = measure([table([1, 1, 1, 0])])
    assert (found.value, found.sd, found.runs) == (0.75, None, 1)
    # p(1 − p)/(n − 1), the unbiased variance of a share
    assert found.parts == ((pytest.approx(0.75 * 0.25 / 3), 3),)


def test_two_runs_by_hand() -> None:
    found = measure([table([1, 1, 1, 0], "a"), table([1, 0, 1, 0], "b")])
    assert found.value == 0.625
    assert found.sd == pytest.approx(np.std([0.75, 0.5], ddof=1))
    # means of the images 1, .5, 1, 0: mean squares 2·Σ(·−.625)²/3, 4·2·.125²/1, and the rest
    ms_images, ms_runs = 2 * 0.6875 / 3, 0.125
    ms_rest = (1.875 - 2 * 0.6875 - 0.125) / 3
    images, runs = found.parts
    assert images == (pytest.approx(ms_images / 8), 3)
    assert runs == (pytest.approx(max(0, ms_runs - ms_rest) / 8), 1)


def test_the_order_of_rows_doesn_t_matter_and_other_images_are_refused() -> None:
    one, two = table([1, 1, 1, 0], "a"), table([1, 0, 1, 0], "b")
    turned = Predictions(two.frame.reverse(), two.classes, two.meta)
    assert measure([one, turned]) == measure([one, two])
    with pytest.raises(DataError, match="same images"):
        measure([one, table([1, 0, 1], "b")])


def test_a_person_with_many_images_tells_little() -> None:
    hits = np.array([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    alone = crossed(hits, [None] * 8).parts[0][0]
    two_persons = crossed(hits, ["p"] * 4 + ["q"] * 4).parts[0]
    # two units with sums ±2: 2/1 · 8 / 64
    assert two_persons == (pytest.approx(0.25), 1)
    assert two_persons[0] > 6 * alone


@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_all_right_or_all_wrong_is_no_number_without_error(hit: float) -> None:
    (variance, freedom), *others = crossed(np.full((2, 20), hit), [None] * 20).parts
    assert (variance, freedom) == (pytest.approx(22 / 24 * 2 / 24 / 24), 19)
    assert [part[0] for part in others] == [0.0]
    assert beside(measure([table([1, 0, 1, 1])]), hit, 20).low < 0.75 - hit


def test_folds_are_corrected_as_by_nadeau_and_bengio() -> None:
    tables = [
        table(hits, f"f{fold}", fold, "val") for fold, hits in enumerate(([1, 1], [1, 0], [0, 0], [1, 1]))
    ]
    found = measure(tables)
    variance = np.var([1, 0.5, 0, 1], ddof=1)
    assert found.folded
    assert found.parts == ((pytest.approx((1 / 4 + 1 / 3) * variance), 3),)


def test_the_interval_is_welch_s_where_both_are_shares() -> None:
    ours = measure([table([1] * 70 + [0] * 30)])
    found = beside(ours, 0.6, 300)
    a, b = 0.7 * 0.3 / 99, 0.6 * 0.4 / 300
    freedom = (a + b) ** 2 / (a**2 / 99 + b**2 / 299)
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(a + b)
    assert (found.low, found.high) == (pytest.approx(0.1 - reach), pytest.approx(0.1 + reach))


@pytest.mark.parametrize(
    ("value", "published", "n", "verdict"),
    [
        (0.57, 0.569, 3589, "reproduced"),
        (0.62, 0.569, 3589, "above"),
        (0.52, 0.569, 3589, "below"),
        (0.40, 0.3791, 306, "undecided"),
        (0.60, 0.3791, 306, "above"),
    ],
)
def test_verdicts(value: float, published: float, n: int, verdict: str) -> None:
    ours = Measured(value, None, 1, False, ((value * (1 - value) / n, n - 1),))
    assert beside(ours, published, n).verdict == verdict


@pytest.mark.parametrize(("n", "low", "high", "verdict"), [
    (390, 0.049, 0.05, "reproduced"), (380, 0.05, 0.051, "undecided"),
])  # fmt: skip
def test_reproduced_is_no_wider_than_five_points_each_way(
    n: int, low: float, high: float, verdict: str
) -> None:
    ours = Measured(0.5, None, 1, False, ((0.0, 1e9),))
    found = beside(ours, 0.5, n)
    assert low < found.high < high
    assert found.verdict == verdict


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Images of differing difficulty, runs of differing luck: 95 % of 95 % intervals hold the true difference."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        easy, luck = rng.normal(0.4, 1, 300), rng.normal(0, 0.3, (3, 1))
        hits = (rng.random((3, 300)) < 1 / (1 + np.exp(-(easy + luck)))).astype(float)
        theirs = rng.random(300) < TRUTH
        found = beside(crossed(hits, [None] * 300), float(theirs.mean()), 300)
        inside += found.low <= 0 <= found.high
    assert 0.92 <= inside / 400 <= 0.995


def _truth() -> float:
    logits = np.random.default_rng(1).normal(0.4, math.sqrt(1.09), 400_000)
    return float((1 / (1 + np.exp(-logits))).mean())


TRUTH = _truth()
