import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from scipy import stats

from emotion.errors import DataError
from emotion.evaluation.comparison import (
    COMPANIONS,
    _indistinct,
    aligned,
    compare,
    compare_folds,
    corrected_t_test,
    holm,
    mcnemar,
    minimum_detectable_difference,
    paired_difference,
)
from emotion.evaluation.intervals import estimate, resample, units_of
from emotion.evaluation.metrics import compute
from emotion.evaluation.predictions import Predictions
from tests.evaluation.tables import CLASSES, answers, simulated, softmax, table


def judged(right: list[bool] | np.ndarray, run: str) -> Predictions:
    """A table of two classes whose images are right or wrong as wanted."""
    labels = np.arange(len(right)) % 2
    predicted = np.where(right, labels, 1 - labels)
    return table(labels, 0.6 * np.eye(2)[predicted] + 0.2, ("a", "b"), run=run)


def related(count: int, skills: list[float], seed: int = 0) -> list[Predictions]:
    """Runs on the same images, their names telling their skill."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), size=count)
    return [
        table(labels, answers(labels, rng, skill=skill), run=f"run{place}-{skill}")
        for place, skill in enumerate(skills)
    ]


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (0, 5), (1, 8), (7, 7), (30, 12), (200, 260)]
)
def test_mcnemar_equals_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    first = [True] * only_first + [False] * only_second + [True] * 10 + [False] * 3
    second = [False] * only_first + [True] * only_second + [True] * 10 + [False] * 3
    found = mcnemar(judged(first, "one"), judged(second, "other"))
    assert (found.only_first, found.only_second) == (only_first, only_second)
    differing = only_first + only_second
    expected = stats.binomtest(only_first, differing).pvalue if differing else 1.0
    assert found.p_value == pytest.approx(expected)


def test_mcnemar_equals_enumeration_of_all_outcomes() -> None:
    found = mcnemar(judged([True] * 6 + [False], "one"), judged([False] * 6 + [True], "other"))
    as_extreme = sum(math.comb(7, hits) for hits in range(8) if min(hits, 7 - hits) <= 1)
    assert found.p_value == pytest.approx(as_extreme / 2**7)


@pytest.mark.parametrize("differing", [5, 6, 17, 40])
def test_mcnemar_raises_false_alarms_in_no_more_than_5_of_100_of_all_outcomes(differing: int) -> None:
    alarms = 0
    for hits in range(differing + 1):
        right = np.arange(differing) < hits
        found = mcnemar(judged(right, "one"), judged(~right, "other"))
        alarms += math.comb(differing, hits) * (found.p_value <= 0.05)
    assert alarms / 2**differing <= 0.05


def test_mcnemar_raises_false_alarms_in_no_more_than_5_of_100_simulated_test_sets() -> None:
    """Two runs of the same accuracy that err independently; equal outcomes are judged once."""
    right = np.random.default_rng(0).uniform(size=(20_000, 2, 150)) < 0.6
    only = np.stack([right[:, 0] & ~right[:, 1], right[:, 1] & ~right[:, 0]], axis=1).sum(axis=2)
    outcomes, first, times = np.unique(only, axis=0, return_index=True, return_counts=True)
    alarms = 0
    for outcome, example, number in zip(outcomes, first, times, strict=True):
        found = mcnemar(judged(right[example, 0], "one"), judged(right[example, 1], "other"))
        assert (found.only_first, found.only_second) == tuple(outcome)
        alarms += number * (found.p_value <= 0.05)
    assert 0.02 < alarms / 20_000 <= 0.05


def test_the_paired_bootstrap_equals_a_naive_loop() -> None:
    one, other = related(200, [1.5, 2.0], seed=1)
    found = paired_difference(one, other, "f1_macro", resamples=40, seed=3)
    weights = np.concatenate(list(resample(units_of(one.labels, one.groups), 40, 3)), axis=1).astype(int)
    naive = []
    for column in range(40):
        rows = np.repeat(np.arange(200), weights[:, column])
        values = [compute(t.labels[rows], t.probabilities[rows], CLASSES)["f1_macro"] for t in (one, other)]
        naive.append(values[0] - values[1])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(naive, [0.025, 0.975])), abs=1e-6)
    assert found.error == pytest.approx(np.std(naive, ddof=1), rel=1e-5)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(found.value) / found.error))


def test_the_paired_bootstrap_has_the_known_error_of_an_accuracy_difference() -> None:
    one, other = related(800, [1.5, 1.6], seed=2)
    found = paired_difference(one, other, resamples=4000)
    gaps = (one.predicted == one.labels).astype(float) - (other.predicted == other.labels)
    within = [gaps[one.labels == k].var() * (one.labels == k).sum() for k in range(len(CLASSES))]
    assert found.error == pytest.approx(math.sqrt(sum(within)) / 800, rel=0.04)
    assert found.value == pytest.approx(gaps.mean())


def test_the_paired_bootstrap_raises_about_5_of_100_false_alarms() -> None:
    found = [
        paired_difference(*related(200, [1.5, 1.5], seed=100 + seed), "f1_macro", resamples=200, seed=seed)
        for seed in range(300)
    ]
    alarms = np.mean([difference.p_value <= 0.05 for difference in found])
    held = np.mean([difference.low <= 0 <= difference.high for difference in found])
    assert 0.02 <= alarms <= 0.08
    assert 0.92 <= held <= 0.98


def test_groups_are_drawn_together_in_a_comparison() -> None:
    one, other = related(150, [1.5, 1.8], seed=3)
    rows = np.repeat(np.arange(150), 4)
    copies = [
        table(
            t.labels[rows],
            t.probabilities[rows],
            ids=[f"{row}-{place}" for place, row in enumerate(rows)],
            groups=[str(row) for row in rows],
            run=t.meta.run,
        )
        for t in (one, other)
    ]
    single, grouped = paired_difference(one, other), paired_difference(*copies)
    assert grouped.error == pytest.approx(single.error, rel=0.05)
    assert compare(copies, resamples=200).pairs["test"][0] == "paired bootstrap of groups, Student's t"
    assert compare([one, other], resamples=200).pairs["test"][0] == "McNemar, exact"


def of_persons(hits: npt.ArrayLike, sizes: Sequence[int], run: str) -> Predictions:
    """A table in which a run gets so many of each person's images right."""
    right = np.concatenate([np.arange(size) < hit for hit, size in zip(np.asarray(hits), sizes, strict=True)])
    labels = np.arange(len(right)) % 2
    predicted = np.where(right, labels, 1 - labels)
    groups = [f"person {person}" for person, size in enumerate(sizes) for _ in range(size)]
    return table(labels, 0.6 * np.eye(2)[predicted] + 0.2, ("a", "b"), groups=groups, run=run)


def of_simulated_persons(sizes: Sequence[int], seed: int, gain: float = 0.0) -> list[Predictions]:
    """Two runs that are differently good at each person; the first one's logit of being right is `gain` higher."""
    rng = np.random.default_rng([seed, len(sizes)])
    easy = 0.5 + rng.normal(size=len(sizes))
    logits = [easy + 0.5 * rng.normal(size=len(sizes)) + more for more in (gain, 0.0)]
    return [
        of_persons(rng.binomial(sizes, 1 / (1 + np.exp(-logit))), sizes, run)
        for logit, run in zip(logits, ("one", "other"), strict=True)
    ]


UNEQUAL = [100, *[10] * 9]


@pytest.mark.parametrize("sizes", [[20] * 3, [20] * 5, [20] * 10, UNEQUAL], ids=["3", "5", "10", "unequal"])
def test_few_persons_raise_no_more_false_alarms_than_many(sizes: list[int]) -> None:
    """The normal distribution with the bootstrap's own error, the sabotage, tells equal runs apart all the time."""
    shares = np.array(sizes) / sum(sizes)
    shrunk = math.sqrt(1 - (shares**2).sum())
    alarms, sabotaged, simulations = 0, 0, 400
    for seed in range(simulations):
        found = paired_difference(*of_simulated_persons(sizes, seed), resamples=200, seed=seed)
        different = found.p_value <= 0.05
        assert different == (found.low > 0 or found.high < 0)
        alarms += different
        normal = 2 * stats.norm.sf(abs(found.value) / (shrunk * found.error)) if found.error else 1.0
        sabotaged += normal <= 0.05
    assert alarms / simulations <= 0.08
    assert sabotaged / simulations > 0.08


def test_a_large_difference_on_enough_persons_is_found() -> None:
    sizes = [20] * 12
    found = [compare(of_simulated_persons(sizes, seed, 2.0), resamples=100) for seed in range(20)]
    assert sum("one is better than other" in comparison.sentence for comparison in found) >= 19
    for comparison in found:
        row = comparison.pairs.row(0, named=True)
        assert row["differs"] == (row["p_holm"] <= 0.05) == (row["low"] > 0 or row["high"] < 0)


def test_the_interval_of_groups_is_students() -> None:
    one, other = of_simulated_persons([20] * 8, 3, 1.0)
    found = paired_difference(one, other, resamples=20_000)
    gaps = (one.predicted == one.labels).astype(float) - (other.predicted == other.labels)
    expected = stats.ttest_1samp(gaps.reshape(8, 20).mean(axis=1), 0)
    assert found.freedom == 7
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.1)
    ends = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.005)


def test_nobody_is_called_better_on_two_persons() -> None:
    tables = [of_persons([15, 16], [20, 20], "r1"), of_persons([10, 10], [20, 20], "r2")]
    found = compare(tables)
    row = found.pairs.row(0, named=True)
    assert (row["low"] < 0 < row["high"], row["differs"]) == (True, False)
    assert row["p_value"] == pytest.approx(
        2 * stats.t.sf(0.275 / 0.025, 1), rel=0.05
    )  # by hand: 25 and 30 points
    assert found.sentence.startswith(
        "r1 and r2 can't be told apart on these 40 images: accuracy 77.5 % against 50.0 %"
    )
    assert "paired bootstrap of groups, Student's t, p = 0.0" in found.sentence
    assert found.sentence.endswith(
        "nothing can be concluded, because the images come from 2 groups (under 10)."
    )
    assert math.isinf(found.detectable)
    assert found.ranking["letters"].to_list() == ["a", "a"]


@pytest.mark.parametrize(("persons", "better"), [(9, False), (10, True)])
def test_nobody_is_called_better_by_an_interval_that_is_not_reliable(persons: int, better: bool) -> None:
    sizes = [20] * persons
    hits = np.resize([17, 18, 19], persons), np.resize([6, 9, 3, 7], persons)
    tables = [of_persons(hit, sizes, run) for hit, run in zip(hits, ("one", "other"), strict=True)]
    for metric in ("accuracy", "balanced_accuracy", "log_loss", "recall/a"):
        found = compare(tables, metric=metric, resamples=300)
        assert found.pairs["p_value"][0] < 0.001
        assert found.pairs["differs"][0] == better
        assert ("is better than" in found.sentence) == better
        assert ("nothing can be concluded" in found.sentence) != better
        assert all(interval.reliable == better for interval in found.intervals.values())


def test_a_rare_class_decides_nothing_by_a_macro_figure() -> None:
    labels = np.array([0] * 60 + [1] * 60 + [2] * 6)
    rng = np.random.default_rng(0)
    tables = [
        table(
            labels,
            softmax(rng.normal(size=(126, 3)) + skill * np.eye(3)[labels]),
            ("a", "b", "c"),
            run=f"{skill}",
        )
        for skill in (3.0, 0.5)
    ]
    found = compare(tables, metric="f1_macro", resamples=200)
    assert found.pairs["p_holm"][0] < 0.001
    assert "nothing can be concluded, because c has 6 images (under 10)" in found.sentence
    assert "3.0 is better than 0.5" in compare(tables, resamples=200).sentence


@pytest.mark.parametrize("persons", [3, 12])
def test_persons_who_all_show_the_same_difference_are_judged_by_the_sign_test(persons: int) -> None:
    """In single precision their resamples vary a little, by which three persons would be enough."""
    sizes = [20] * persons
    hits = np.resize([15, 16, 14], persons)
    tables = [of_persons(hits, sizes, "one"), of_persons(hits - 5, sizes, "other")]
    found = paired_difference(*tables, resamples=200)
    assert (found.value, found.error) == (pytest.approx(0.25), 0)
    assert found.p_value == pytest.approx(stats.binomtest(persons, persons).pvalue)
    compared = compare(tables, resamples=200)
    if persons == 3:
        assert math.isnan(found.low)
        assert "25.0 points (no interval; paired bootstrap" in compared.sentence
    else:
        assert (found.low, found.high) == (found.value, found.value)
        assert "one is better than other" in compared.sentence


def test_rounding_is_no_difference() -> None:
    one, _ = related(200, [1.5, 1.5])
    other = one.with_probabilities(one.probabilities + 1e-8 * (one.probabilities > 0.5)).with_meta(
        run="other"
    )
    found = paired_difference(one, other, "log_loss", resamples=100)
    assert 0 < abs(found.value) < 1e-6
    assert found.p_value == 1
    assert found.low <= 0 <= found.high


def test_groups_of_one_class_are_drawn_within_it_if_there_are_enough_of_them() -> None:
    """The error of a class that comes from two groups would be a guess that is half too small."""
    one, other = related(140, [1.5, 1.8], seed=13)
    for of_a_class, freedom in ((2, 13), (10, 63)):
        labels = np.arange(140) % 7
        groups = [f"{label} {row // 7 % of_a_class}" for row, label in enumerate(labels)]
        tables = [table(labels, t.probabilities, groups=groups, run=t.meta.run) for t in (one, other)]
        assert paired_difference(*tables, resamples=50).freedom == freedom


def test_holm_equals_closed_testing_with_bonferroni() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.uniform(size=5) ** 3
        for place, corrected in enumerate(holm(values)):
            sets = [s for size in range(1, 6) for s in combinations(range(5), size) if place in s]
            assert corrected == pytest.approx(max(min(1, len(s) * min(values[list(s)])) for s in sets))


def test_holm_refuses_what_is_no_p_value() -> None:
    assert holm([]) == []
    with pytest.raises(DataError, match="p-values from 0 to 1"):
        holm([0.1, math.nan])


def test_the_corrected_t_test_without_correction_is_the_paired_t_test() -> None:
    one, other = [0.71, 0.69, 0.72, 0.70, 0.74], [0.68, 0.70, 0.69, 0.67, 0.70]
    found, expected = corrected_t_test(one, other, ratio=0), stats.ttest_rel(one, other)
    assert found.p_value == pytest.approx(expected.pvalue)
    ends = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_the_corrected_t_test_equals_a_case_computed_by_hand() -> None:
    # differences 0.01, 0.02, 0.03, 0.04: mean 0.025, variance 0.0005/3; 1/4 + 1/3 = 7/12
    found = corrected_t_test([0.51, 0.52, 0.53, 0.54], [0.5] * 4, ratio=1 / 3)
    t = 0.025 / math.sqrt(7 / 12 * 0.0005 / 3)
    assert found.value == pytest.approx(0.025)
    assert found.p_value == pytest.approx(2 * stats.t.sf(t, 3))
    assert found.low == pytest.approx(0.025 - stats.t.ppf(0.975, 3) * 0.025 / t)
    assert found.folds == 4


def test_the_corrected_t_test_of_equal_folds() -> None:
    assert corrected_t_test([0.5, 0.6], [0.5, 0.6], ratio=1).p_value == 1
    with pytest.raises(DataError, match=r"differences that vary, found 0.1 in each of 2 folds"):
        corrected_t_test([0.7, 0.8], [0.6, 0.7], ratio=1)
    with pytest.raises(DataError, match="two or more folds"):
        corrected_t_test([0.5], [0.6], ratio=1)
    with pytest.raises(DataError, match="finite value in each fold"):
        corrected_t_test([0.5, math.nan], [0.6, 0.6], ratio=1)


def test_folds_are_compared_fold_by_fold() -> None:
    one, other = related(400, [1.5, 1.9], seed=4)
    fold = np.arange(400) % 4
    pooled = [
        table(t.labels, t.probabilities, run=t.meta.run, part="val", fold=fold.tolist()) for t in (one, other)
    ]
    values = [
        [compute(t.labels[fold == f], t.probabilities[fold == f], CLASSES)["f1_macro"] for f in range(4)]
        for t in pooled
    ]
    assert compare_folds(*pooled, "f1_macro", folds=4) == corrected_t_test(*values, ratio=1 / 3)
    half = [Predictions(t.frame.filter(t.frame["fold"] < 2), t.classes, t.meta) for t in pooled]
    unfinished = corrected_t_test(
        *(each[:2] for each in values), ratio=1 / 3
    )  # trained on three quarters all the same
    assert compare_folds(*half, "f1_macro", folds=4) == unfinished
    moved = table(other.labels, other.probabilities, part="val", run="moved", fold=np.roll(fold, 1).tolist())
    with pytest.raises(DataError, match="same fold of run0-1.5 and moved"):
        compare_folds(pooled[0], moved, folds=4)
    with pytest.raises(DataError, match="images without a fold"):
        compare_folds(one, other, folds=4)


def power(count: int, disagreement: float, difference: float) -> float:
    """Of McNemar's exact test at 0.05, by summing over all outcomes."""
    first, second = (disagreement + difference) / 2, (disagreement - difference) / 2
    found = 0.0
    for one in range(count + 1):
        for other in range(count + 1 - one):
            if stats.binomtest(one, one + other).pvalue <= 0.05 if one + other else False:
                rest = count - one - other
                found += (
                    math.comb(count, one)
                    * math.comb(count - one, other)
                    * first**one
                    * second**other
                    * (1 - disagreement) ** rest
                )
    return found


def test_the_detectable_difference_has_the_power_that_it_promises() -> None:
    found = minimum_detectable_difference(40, 0.5)
    assert power(40, 0.5, found) == pytest.approx(0.8, abs=1e-6)
    assert power(40, 0.5, found - 0.01) < 0.8


def test_the_detectable_difference_of_fer2013() -> None:
    # the normal approximation of Connor (1987): z√ψ + z'√(ψ − δ²) = δ√n
    count, apart = 3589, 0.2
    found = minimum_detectable_difference(count, apart)
    z, zz = stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    assert z * math.sqrt(apart) + zz * math.sqrt(apart - found**2) == pytest.approx(
        found * math.sqrt(count), rel=0.02
    )


def test_a_small_or_agreeing_test_set_detects_nothing() -> None:
    assert minimum_detectable_difference(5, 0.9) == math.inf
    assert minimum_detectable_difference(3589, 0.0) == math.inf
    assert minimum_detectable_difference(3589, 0.0005) == math.inf
    with pytest.raises(DataError, match="disagreement from 0 to 1"):
        minimum_detectable_difference(100, 20)


def test_indistinct_sets_equal_a_search_of_all_sets() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        differs = {pair for pair in combinations(range(6), 2) if rng.uniform() < 0.5}
        free = [
            set(runs)
            for size in range(1, 7)
            for runs in combinations(range(6), size)
            if not any(pair in differs for pair in combinations(runs, 2))
        ]
        largest = [runs for runs in free if not any(runs < larger for larger in free)]
        assert _indistinct(6, differs) == sorted(tuple(sorted(runs)) for runs in largest)


def test_runs_are_ranked_and_those_that_cannot_be_told_apart_are_grouped() -> None:
    tables = related(1500, [1.2, 2.4, 0.4], seed=5)
    nearly = tables[1].probabilities.copy()
    nearly[:5] = tables[0].probabilities[:5]
    tables.append(table(tables[1].labels, nearly, run="nearly"))
    found = compare(tables, resamples=500)
    assert found.ranking["run"].to_list() == ["run1-2.4", "nearly", "run0-1.2", "run2-0.4"]
    assert found.ranking["rank"].to_list() == [1, 2, 3, 4]
    assert found.ranking["letters"].to_list() == ["a", "a", "b", "c"]
    assert found.groups == (("run1-2.4", "nearly"),)
    assert "but nearly can't be told from it on these 1,500 images; 2 are worse than it." in found.sentence
    best = next(t for t in tables if t.meta.run == found.ranking["run"][0])
    row = found.ranking.row(0, named=True)
    interval = estimate(best, ["accuracy"])["accuracy"]
    assert (row["value"], row["low"], row["high"]) == (interval.value, interval.low, interval.high)
    values = compute(best.labels, best.probabilities, CLASSES)
    assert all(row[name] == pytest.approx(values[name]) for name in COMPANIONS)
    assert found.pairs.height == 6
    assert found.pairs["p_holm"].to_list() == pytest.approx(holm(found.pairs["p_value"].to_list()))
    assert (found.pairs["difference"] >= 0).all()
    assert found.pairs["differs"].to_list() == (found.pairs["p_holm"] <= 0.05).to_list()
    one, other = (next(t for t in tables if t.meta.run == found.pairs[end][0]) for end in ("first", "second"))
    assert found.pairs["p_value"][0] == mcnemar(one, other).p_value


def test_two_runs_get_one_plain_sentence() -> None:
    better, worse = related(1500, [2.4, 1.2], seed=6)
    found = compare([worse, better], resamples=500)
    difference = found.pairs.row(0, named=True)
    assert found.sentence.startswith("run0-2.4 is better than run1-1.2 on these 1,500 images: accuracy ")
    assert f"a difference of {100 * difference['difference']:.1f} points (95 % interval" in found.sentence
    assert "McNemar, exact, p < 0.001" in found.sentence
    same = compare(related(1500, [2.4, 2.4], seed=7), resamples=500)
    assert "can't be told apart on these 1,500 images" in same.sentence
    assert f"a true difference under {100 * same.detectable:.1f} points" in same.sentence
    assert same.groups == (tuple(same.ranking["run"]),)


def test_sentences_for_many_runs() -> None:
    none = compare(related(100, [1.5, 1.5, 1.5], seed=8), resamples=300)
    assert none.sentence.startswith("None of the 3 runs can be told from another by accuracy on these 100")
    clear = compare(related(1500, [2.8, 1.0, 0.5], seed=9), resamples=300)
    assert clear.sentence.startswith("run0-2.8 has the best accuracy (")
    assert clear.sentence.endswith("and is better than each of the other 2 runs on these 1,500 images.")
    assert clear.groups == ()


def test_lower_is_better_for_a_loss() -> None:
    found = compare(related(800, [1.0, 2.5], seed=10), metric="log_loss", resamples=300)
    assert found.ranking["run"].to_list() == ["run1-2.5", "run0-1.0"]
    assert found.pairs["difference"][0] < 0
    assert found.pairs["test"][0] == "paired bootstrap"
    error = paired_difference(
        *related(800, [1.0, 2.5], seed=10)[::-1], metric="log_loss", resamples=300
    ).error
    assert found.detectable == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error)
    assert "points" not in found.sentence


def test_a_tie_shares_its_rank() -> None:
    one = simulated(60, run="one")
    found = compare([one, one.with_meta(run="other")], resamples=100)
    assert found.ranking["rank"].to_list() == [1, 1]
    assert found.pairs["p_value"].to_list() == [1.0]
    assert found.detectable == math.inf
    assert "no difference is likely to be seen on so few" in found.sentence


def test_runs_selected_on_these_images_are_named() -> None:
    one, other = related(60, [1.0, 2.0], seed=11)
    chosen = other.with_meta(selected_on_this_part=True)
    assert compare([one, other], resamples=50).notes == ()
    assert compare([one, chosen], resamples=50).notes[0].startswith("run1-2.0 chose the best epoch on these")
    both = compare([one.with_meta(selected_on_this_part=True), chosen], resamples=50)
    assert both.notes[0].startswith("All runs chose")


def test_the_order_of_the_rows_does_not_matter() -> None:
    one, other = related(200, [1.5, 1.8], seed=12)
    shuffled = Predictions(other.frame.sample(fraction=1, shuffle=True, seed=0), other.classes, other.meta)
    assert compare([one, shuffled], resamples=100).pairs.equals(compare([one, other], resamples=100).pairs)


def test_different_test_sets_are_refused_with_the_number_of_different_ids() -> None:
    one = simulated(100, run="one")
    other = Predictions(one.frame[3:], CLASSES, one.with_meta(run="other").meta)
    with pytest.raises(
        DataError,
        match=r"found 3 ids that only one of one \(test\) and other \(test\) has \(3 of 100 and 0 of 97",
    ):
        compare([one, other])
    renamed = Predictions(one.frame.with_columns(id=pl.col("id") + "x"), CLASSES, other.meta)
    with pytest.raises(DataError, match="found 200 ids"):
        mcnemar(one, renamed)


def test_other_tables_that_do_not_fit_together_are_refused() -> None:
    one = simulated(100, run="one", groups=[str(row) for row in range(100)])
    other = one.with_meta(run="other")
    flipped = Predictions(
        other.frame.with_columns(label=(pl.col("label") + 1) % len(CLASSES)), CLASSES, other.meta
    )
    with pytest.raises(DataError, match="same labels, found 100 of 100"):
        aligned([one, flipped])
    alone = Predictions(other.frame.with_columns(group=pl.lit(None, pl.String)), CLASSES, other.meta)
    with pytest.raises(DataError, match="same groups, found 100 of 100"):
        paired_difference(one, alone)
    names = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
    turned = other.frame.rename({f"p/{name}": f"p/{new}" for name, new in names.items()})
    with pytest.raises(DataError, match="one label set, found two in one .* and other"):
        compare([one, Predictions(turned, tuple(names.values()), other.meta)])
    with pytest.raises(DataError, match="at least two prediction tables to compare, found 1"):
        compare([one])
    with pytest.raises(DataError, match="2 different names"):
        compare([one, one])
    with pytest.raises(DataError, match="2 different names"):
        compare([one, other], names=["a", "a"])
    assert compare([one, other], names=["a", "b"], resamples=10).ranking["run"].to_list() == ["a", "b"]


def test_an_undefined_metric_or_a_single_image_cannot_be_compared() -> None:
    one = simulated(30, run="one")
    kept = one.frame.filter(pl.col("label") != 2)
    without = [Predictions(kept, CLASSES, one.with_meta(run=name).meta) for name in ("one", "other")]
    with pytest.raises(DataError, match="auroc/fear undefined for one: a class has no image"):
        compare(without, metric="auroc/fear")
    single = [Predictions(one.frame[:1], CLASSES, one.with_meta(run=name).meta) for name in ("one", "other")]
    with pytest.raises(DataError, match="at least two independent images"):
        compare(single)


@pytest.mark.slow
def test_comparing_equal_runs_raises_no_more_than_5_of_100_false_alarms_in_all_pairs_together() -> None:
    alarms = sum(
        compare(related(150, [1.5] * 5, seed=1000 + seed), resamples=100).pairs["differs"].any()
        for seed in range(400)
    )
    assert alarms / 400 <= 0.06


def test_a_difference_that_no_resample_changes_is_judged_by_the_sign_test() -> None:
    labels = np.arange(40) % 2
    sure = np.eye(2)[labels]
    right = table(labels, 0.98 * sure + 0.01, ("anger", "fear"), run="right")
    wrong = table(labels, 0.98 * (1 - sure) + 0.01, ("anger", "fear"), run="wrong")
    found = paired_difference(right, wrong, "balanced_accuracy", resamples=200)
    assert (found.value, found.error) == (1.0, 0.0)
    assert found.p_value == pytest.approx(stats.binomtest(40, 40).pvalue)
    same = paired_difference(right, right, "balanced_accuracy", resamples=200)
    assert same.p_value == 1.0


def test_differences_that_do_not_vary_detect_nothing() -> None:
    labels = np.repeat([0, 1], 20)
    never = np.tile([0.1, 0.9], (40, 1))
    found = compare(
        [table(labels, never, ("a", "b"), run=name) for name in ("one", "two")],
        metric="recall/a",
        resamples=50,
    )
    assert math.isinf(found.detectable)
    assert "no difference is likely to be seen" in found.sentence


def test_an_unknown_metric_is_named_with_the_nearest_one() -> None:
    tables = [simulated(30).with_meta(run=name) for name in ("one", "two")]
    with pytest.raises(DataError, match=r"found recal/fear\. Did you mean recall/fear\?"):
        compare(tables, metric="recal/fear")
