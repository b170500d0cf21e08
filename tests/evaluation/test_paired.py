"""By how much one system is better: against the tests it is made of, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from emotion.errors import DataError
from emotion.evaluation.comparison import paired_difference
from emotion.evaluation.paired import RESAMPLES, between
from emotion.evaluation.predictions import Meta, Predictions, from_arrays


def table(
    right: np.ndarray, run: str, fold: int | None = None, groups: list[str] | None = None
) -> Predictions:
    """Two classes in turn, answered right where `right` says so."""
    labels = np.arange(len(right)) % 2
    answers = np.where(right, labels, 1 - labels)
    part = "test" if fold is None else "val"
    ids = [f"{fold}-{row}" for row in range(len(right))]
    meta = Meta("drawn", part, run)  # type: ignore[arg-type]
    probabilities = np.eye(2)[answers] * 0.8 + 0.1
    return from_arrays(ids, labels, probabilities, ("x", "y"), meta, fold=fold, groups=groups)


def hits(share: float, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(count) < share


def test_one_run_each_is_the_paired_bootstrap() -> None:
    one, other = table(hits(0.8, 300, 0), "a"), table(hits(0.7, 300, 1), "b")
    found = between([one], [other], "f1_macro")
    expected = paired_difference(one, other, "f1_macro", resamples=RESAMPLES)
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)


def test_folds_are_compared_fold_by_fold() -> None:
    ours = [table(hits(0.8, 100, fold), "a", fold) for fold in range(4)]
    theirs = [table(hits(0.7, 100, 10 + fold), "b", fold) for fold in range(4)]
    found = between(ours, theirs, "accuracy")
    each = [
        float((a.predicted == a.labels).mean() - (b.predicted == b.labels).mean())
        for a, b in zip(ours, theirs, strict=True)
    ]
    reach = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1 / 3) * np.var(each, ddof=1))
    assert (found.value, found.high) == (
        pytest.approx(np.mean(each)),
        pytest.approx(np.mean(each) + reach),
    )
    with pytest.raises(DataError, match="same folds"):
        between(ours, theirs[:2], "accuracy")
    for others in (1, 2):
        with pytest.raises(DataError, match="same folds"):
            between(ours, [table(hits(0.7, 100, 1), "c")] * others, "accuracy")
    others = [table(hits(0.7, 90, 10 + fold), "c", fold) for fold in range(4)]
    with pytest.raises(DataError, match="expected the same images"):
        between(ours, others, "accuracy")


def test_seeds_of_a_fold_are_averaged_first() -> None:
    """A seed that repeats another tells nothing new, and two that differ count by their mean."""
    ours = [table(hits(0.8, 100, fold), "a", fold) for fold in range(4)]
    again = [table(hits(0.6, 100, 20 + fold), "a", fold) for fold in range(4)]
    theirs = [table(hits(0.7, 100, 10 + fold), "b", fold) for fold in range(4)]
    assert between(ours * 2, theirs * 2, "accuracy") == between(ours, theirs, "accuracy")
    right = [[(t.predicted == t.labels).mean() for t in tables] for tables in (ours, again, theirs)]
    each = np.mean(right[:2], axis=0) - right[2]
    reach = stats.t.ppf(0.975, 3) * np.sqrt((1 / 4 + 1 / 3) * np.var(each, ddof=1))
    found = between([*ours, *again], [*theirs, *theirs], "accuracy")
    assert (found.value, found.high) == (pytest.approx(each.mean()), pytest.approx(each.mean() + reach))


def test_several_runs_add_what_differs_between_them() -> None:
    ours = [table(hits(share, 400, seed), f"a{seed}") for seed, share in enumerate((0.9, 0.7))]
    theirs = [table(hits(0.6, 400, 9), "b")]
    found = between(ours, theirs, "accuracy")
    pairs = [paired_difference(one, theirs[0], "accuracy", resamples=RESAMPLES) for one in ours]
    assert found.value == pytest.approx(np.mean([pair.value for pair in pairs]))
    assert found.high - found.low > max(pair.high - pair.low for pair in pairs)
    with pytest.raises(DataError, match="as many runs of both, found 2 and 3"):
        between(ours, theirs * 3, "accuracy")


def test_runs_that_differ_alike_have_the_images_error_alone() -> None:
    ours = [table(hits(0.9, 400, 0), f"a{seed}") for seed in range(2)]
    theirs = [table(hits(0.6, 400, 9), "b")]
    found = between(ours, theirs, "accuracy")
    error = paired_difference(ours[0], theirs[0], "accuracy", resamples=RESAMPLES).error
    assert found.high - found.value == pytest.approx(stats.norm.ppf(0.975) * error)


def test_runs_on_few_persons_have_few_degrees_of_freedom() -> None:
    persons = [f"{row % 3}" for row in range(90)]
    ours = [table(hits(0.9, 90, 0), f"a{seed}", groups=persons) for seed in range(2)]
    theirs = [table(hits(0.6, 90, 9), "b", groups=persons)]
    found = between(ours, theirs, "accuracy")
    error = paired_difference(ours[0], theirs[0], "accuracy", resamples=RESAMPLES).error
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 2) * error)


@pytest.mark.slow
def test_the_interval_of_two_equal_systems_holds_zero_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Images of differing difficulty that both see, runs that differ by luck alone."""
    monkeypatch.setattr("emotion.evaluation.paired.RESAMPLES", 200)
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        easy = rng.normal(1, 1, 200)
        tables = [
            [
                table(rng.random(200) < 1 / (1 + np.exp(-(easy + rng.normal(0, 0.2)))), f"{name}{run}")
                for run in range(3)
            ]
            for name in "ab"
        ]
        found = between(tables[0], tables[1], "accuracy")
        inside += found.low <= 0 <= found.high
    assert inside / 100 >= 0.92
