import math

import numpy as np
import pytest
from scipy import stats

from emotion.errors import DataError
from emotion.evaluation.intervals import (
    bootstrap,
    estimate,
    estimate_trust,
    jackknife,
    resample,
    units_of,
    wilson,
)
from emotion.evaluation.metrics import Evaluator, compute, confusion_matrix, metric_names, trust
from emotion.evaluation.predictions import Predictions
from tests.evaluation.tables import CLASSES, answers, simulated, softmax, table

K = len(CLASSES)


def fixed_mix(supports: list[int], seed: int, skill: float = 1.8) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(K), supports)
    return labels, answers(labels, np.random.default_rng(seed), skill=skill)


@pytest.mark.parametrize("groups", [None, "of one class", "mixed"])
def test_the_bootstrap_equals_a_naive_loop_over_resampled_rows(groups: str | None) -> None:
    found = simulated(300, seed=1)
    members: list[str | None] = [None] * 300
    if groups == "of one class":
        members = [f"{label}-{row % 9}" for row, label in enumerate(found.labels)]
    if groups == "mixed":
        members = [f"person {row % 40}" if row % 5 else None for row in range(300)]
    units = units_of(found.labels, members)
    evaluate = Evaluator(found.labels, found.probabilities, CLASSES, dtype=np.float32)
    draws = bootstrap([evaluate], units, resamples=8, seed=5)[0]
    (weights,) = resample(units, 8, 5)
    for column in range(8):
        rows = np.repeat(np.arange(300), weights[:, column].astype(int))
        again = compute(found.labels[rows], found.probabilities[rows], CLASSES)
        for name, value in again.items():
            assert draws[name][column] == pytest.approx(value, rel=3e-5, abs=3e-6, nan_ok=True), name


def test_resamples_keep_the_class_sizes_and_draw_every_image_alike() -> None:
    labels = np.repeat([0, 1, 2], [5, 20, 100])
    units = units_of(labels, [None] * 125)
    weights = np.concatenate(list(resample(units, 4000, 0)), axis=1)
    assert weights.shape == (125, 4000)
    for k, size in enumerate((5, 20, 100)):
        assert (weights[labels == k].sum(axis=0) == size).all()
        # a binomial count: mean 1, variance 1 − 1/size
        np.testing.assert_allclose(weights[labels == k].mean(axis=1), 1, atol=0.09)
        np.testing.assert_allclose(weights[labels == k].var(axis=1).mean(), 1 - 1 / size, rtol=0.05)


def test_groups_are_drawn_whole_and_within_a_class_if_each_has_one() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    pure = units_of(labels, ["a", "a", None, "b", "b", "c", "c"])
    assert pure.count == 4
    assert len(pure.strata) == 2
    (weights,) = resample(pure, 50, 0)
    assert (weights[0] == weights[1]).all()
    assert (weights[3] == weights[4]).all()
    assert (weights[3:].sum(axis=0) == 4).all()
    mixed = units_of(labels, ["a", "a", None, "a", "b", "c", "c"])
    assert len(mixed.strata) == 1
    (weights,) = resample(mixed, 200, 0)
    assert len(np.unique(weights.sum(axis=0))) > 1
    assert len(units_of(labels, [None] * 7, stratified=False).strata) == 1


def test_resamples_are_a_function_of_the_seed() -> None:
    units = units_of(np.zeros(30, int), [None] * 30)
    first, again, other = (next(resample(units, 10, seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    longer = np.concatenate(list(resample(units, 600, 1)), axis=1)
    assert longer.shape == (30, 600)
    assert (longer[:, :256] == np.concatenate(list(resample(units, 256, 1)), axis=1)).all()


def test_an_id_like_a_row_number_is_no_group_of_another_image() -> None:
    assert units_of(np.zeros(3, int), [None, "0", "i0"]).count == 3


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17, 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_published_examples(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count) == pytest.approx((low, high), abs=5e-5)
    ours, theirs = wilson(hits, count, 0.9), stats.binomtest(hits, count).proportion_ci(0.9, "wilson")
    assert ours == pytest.approx((theirs.low, theirs.high))


def test_wilson_of_nothing_is_undefined() -> None:
    assert np.isnan(wilson(0, 0)).all()


def test_shares_get_wilsons_interval() -> None:
    found = simulated(400, seed=2)
    names = ["accuracy", "top2_accuracy", "recall/fear", "precision/fear"]
    intervals = estimate(found, names, resamples=10, stratified=False)
    right = found.predicted == found.labels
    fear = CLASSES.index("fear")
    for name, among in (
        ("accuracy", right),
        ("recall/fear", right[found.labels == fear]),
        ("precision/fear", right[found.predicted == fear]),
    ):
        theirs = stats.binomtest(int(among.sum()), len(among)).proportion_ci(method="wilson")
        assert (intervals[name].low, intervals[name].high) == pytest.approx((theirs.low, theirs.high))
        assert intervals[name].value == pytest.approx(among.mean())
    value = intervals["top2_accuracy"].value
    assert (intervals["top2_accuracy"].low, intervals["top2_accuracy"].high) == pytest.approx(
        wilson(round(400 * value), 400)
    )


def test_the_precision_of_given_class_sizes_varies_less_than_a_share_of_so_many_images() -> None:
    found = simulated(700, seed=21)
    given, drawn = (
        estimate(found, ["precision/surprise"], stratified=stratified)["precision/surprise"]
        for stratified in (True, False)
    )
    evaluate = Evaluator(found.labels, found.probabilities, CLASSES, ["precision/surprise"])
    units = units_of(found.labels, [None] * 700)
    error = bootstrap([evaluate], units, resamples=4000)[0]["precision/surprise"].std()
    assert given.high - given.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert given.high - given.low < 0.95 * (drawn.high - drawn.low)
    tripled = table(
        np.repeat(found.labels, 3),
        np.repeat(found.probabilities, 3, axis=0),
        ids=[f"{name}-{copy}" for name in found.ids for copy in range(3)],
        groups=np.repeat(found.ids, 3).tolist(),
    )
    copies = estimate(tripled, ["precision/surprise"])["precision/surprise"]
    assert (copies.low, copies.high) == pytest.approx((given.low, given.high), rel=1e-3)


def delong(positive: np.ndarray, negative: np.ndarray) -> tuple[float, float]:
    """The area and its variance, DeLong, DeLong and Clarke-Pearson 1988, from all pairs."""
    wins = (positive[:, None] > negative) + (positive[:, None] == negative) / 2
    rows, columns = wins.mean(axis=1), wins.mean(axis=0)
    return float(wins.mean()), float(rows.var(ddof=1) / len(positive) + columns.var(ddof=1) / len(negative))


def test_the_interval_of_an_area_is_delongs_on_the_logit_scale() -> None:
    rng = np.random.default_rng(22)
    labels = np.repeat([0, 1], [40, 120])
    first = stats.norm.cdf(rng.normal(size=160) + 1.5 * (labels == 0)).round(2).clip(0.01, 0.99)  # with ties
    found = table(labels, np.stack([first, 1 - first], axis=1), ("a", "b"))
    area, variance = delong(found.probabilities[labels == 0, 0], found.probabilities[labels == 1, 0])
    reach = stats.t.ppf(0.975, 39) * math.sqrt(variance) / (area * (1 - area))
    expected = [1 / (1 + math.exp(-(math.log(area / (1 - area)) + sign * reach))) for sign in (-1, 1)]
    interval = estimate(found, ["auroc/a"])["auroc/a"]
    assert interval.method == "delong"
    assert interval.value == pytest.approx(area)
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-6)
    copied = [name for name in found.ids for _ in range(2)]
    twice = table(
        np.repeat(labels, 2),
        np.repeat(found.probabilities, 2, axis=0),
        ("a", "b"),
        ids=[f"{name}-{row % 2}" for row, name in enumerate(copied)],
        groups=copied,
    )
    grouped = estimate(twice, ["auroc/a"])["auroc/a"]
    assert (grouped.low, grouped.high) == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_an_area_of_one_has_no_interval_that_can_be_trusted() -> None:
    labels = np.arange(60) % 2
    perfect = table(labels, 0.8 * np.eye(2)[labels] + 0.1, ("a", "b"))
    interval = estimate(perfect, ["auroc/a"])["auroc/a"]
    assert (interval.value, interval.low, interval.high, interval.reliable) == (1, 1, 1, False)


def test_accelerations_equal_their_closed_form() -> None:
    found = simulated(240, seed=3)
    evaluate = Evaluator(found.labels, found.probabilities, CLASSES, ["log_loss", "balanced_accuracy"])
    own = found.probabilities[np.arange(240), found.labels]
    losses = -np.log(own) - (-np.log(own)).mean()
    one = units_of(found.labels, [None] * 240, stratified=False)
    bend = jackknife(evaluate, one)["log_loss"].acceleration
    assert bend == pytest.approx((losses**3).sum() / (6 * (losses**2).sum() ** 1.5), rel=1e-6)
    right = (found.predicted == found.labels).astype(float)
    cubes = squares = 0.0
    for k in range(K):
        part = right[found.labels == k]
        influence = (part - part.mean()) / len(part)
        cubes, squares = cubes + (influence**3).sum(), squares + (influence**2).sum()
    by_class = jackknife(evaluate, units_of(found.labels, [None] * 240))["balanced_accuracy"].acceleration
    assert by_class == pytest.approx(cubes / (6 * squares**1.5), rel=1e-6)


def test_leaving_out_blocks_gives_nearly_the_same_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    own = np.random.default_rng(0).beta(1, 3, size=2000)
    found = table([0] * 2000, np.stack([own, 1 - own], axis=1), ("a", "b"))
    blocks = estimate(found, ["log_loss"], resamples=2000)["log_loss"]
    monkeypatch.setattr("emotion.evaluation.intervals.JACKKNIFE_BLOCKS", 2000)
    single = estimate(found, ["log_loss"], resamples=2000)["log_loss"]
    width = single.high - single.low
    assert blocks != single
    assert (blocks.low, blocks.high) == pytest.approx((single.low, single.high), abs=0.02 * width)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_bootstrap_intervals_equal_scipys(method: str) -> None:
    rng = np.random.default_rng(4)
    own = rng.beta(1, 2, size=60)
    predictions = table([0] * 60, np.stack([own, 1 - own], axis=1), ("a", "b"))
    ours = estimate(predictions, ["log_loss"], method=method, resamples=20_000)["log_loss"]  # type: ignore[arg-type]
    losses = -np.log(predictions.probabilities[:, 0])
    theirs = stats.bootstrap(
        (losses,), np.mean, n_resamples=20_000, method="BCa" if method == "bca" else method, rng=rng
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.02 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.02 * width)
    assert ours.method == method


def calibrated(count: int, seed: int, factor: float = 1.0) -> Predictions:
    """Labels drawn from the probabilities; a factor on the logits then makes these wrong."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(count, K))
    labels = (rng.uniform(size=(count, 1)) < softmax(logits).cumsum(axis=1)).argmax(axis=1)
    return table(labels, softmax(factor * logits))


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_interval_of_a_calibration_error_is_corrected_for_its_bias(factor: float) -> None:
    names = ["ece", "ece_classwise", "ece_adaptive"]
    large = calibrated(400_000, 1, factor)
    truth = compute(large.labels, large.probabilities, CLASSES)
    held, plain = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for seed in range(60):
        found = calibrated(600, 100 + seed, factor)
        for counts, method in ((held, "best"), (plain, "percentile")):
            intervals = estimate(found, names, method=method, resamples=200, seed=seed)  # type: ignore[arg-type]
            for name, interval in intervals.items():
                counts[name] += interval.low <= truth[name] <= interval.high
    assert all(count >= 52 for count in held.values()), held  # 2 standard errors below 0.95 of 60
    assert plain["ece_classwise"] <= 12


def test_the_order_of_the_rows_does_not_matter() -> None:
    found = simulated(120, seed=5, groups=[f"p{row % 50}" for row in range(120)])
    shuffled = Predictions(found.frame.sample(fraction=1, shuffle=True, seed=1), found.classes, found.meta)
    assert estimate(found, ["f1_macro", "ece"], resamples=200) == estimate(
        shuffled, ["f1_macro", "ece"], resamples=200
    )


def test_all_metrics_have_an_interval_around_their_value() -> None:
    found = simulated(700, seed=6)
    intervals = estimate(found, resamples=500)
    values = compute(found.labels, found.probabilities, CLASSES)
    assert list(intervals) == [name for name in metric_names(CLASSES) if not name.startswith("support/")]
    for name, interval in intervals.items():
        assert interval.value == pytest.approx(values[name])
        assert interval.reliable, name
        if not name.startswith("ece"):
            assert interval.low < interval.value < interval.high, name
    wider = estimate(found, ["f1_macro"], resamples=500, confidence=0.99)["f1_macro"]
    assert wider.low < intervals["f1_macro"].low < intervals["f1_macro"].high < wider.high


def test_leaving_the_class_mix_to_chance_widens_the_f1_of_a_rare_class() -> None:
    labels, probabilities = fixed_mix([300, 300, 300, 300, 300, 300, 30], seed=7)
    found = table(labels, probabilities)
    given, drawn = (
        estimate(found, ["f1/surprise"], resamples=1000, stratified=stratified)["f1/surprise"]
        for stratified in (True, False)
    )
    assert drawn.high - drawn.low > 1.2 * (given.high - given.low)


def test_copies_of_a_picture_tell_nothing_new() -> None:
    single = simulated(200, seed=8)
    rows = np.repeat(np.arange(200), 3)
    ids = [f"{single.ids[row]}-{copy}" for copy, row in enumerate(rows)]
    groups = [single.ids[row] for row in rows]
    tripled = {
        name: table(single.labels[rows], single.probabilities[rows], ids=ids, groups=names)
        for name, names in (("grouped", groups), ("as if independent", None))
    }
    names = ["accuracy", "f1_macro", "recall/anger"]
    honest = estimate(single, names, resamples=2000)
    grouped = estimate(tripled["grouped"], names, resamples=2000)
    wrong = estimate(tripled["as if independent"], names, resamples=2000)
    for name in names:
        width = honest[name].high - honest[name].low
        assert grouped[name].high - grouped[name].low == pytest.approx(width, rel=0.06), name
        assert wrong[name].high - wrong[name].low == pytest.approx(width / math.sqrt(3), rel=0.06), name


def test_a_macro_figure_with_a_rare_class_is_marked() -> None:
    labels, probabilities = fixed_mix([40, 40, 9, 40, 40, 40, 40], seed=9)
    intervals = estimate(
        table(labels, probabilities), ["f1_macro", "accuracy", "f1/fear", "f1/anger"], resamples=100
    )
    for name in ("f1_macro", "f1/fear"):
        assert not intervals[name].reliable
        assert "interval not reliable: fear has 9 images (under 10)" in intervals[name].note
        assert "pooled out-of-fold table" in intervals[name].note
    assert intervals["accuracy"].reliable
    assert intervals["f1/anger"].reliable
    labels, probabilities = fixed_mix([40, 40, 10, 40, 40, 40, 40], seed=9)
    assert estimate(table(labels, probabilities), ["f1_macro"], resamples=100)["f1_macro"].reliable


def test_many_images_of_few_persons_are_marked() -> None:
    labels, probabilities = fixed_mix([50] * K, seed=10)
    groups = [f"person {row % 6}" for row in range(len(labels))]
    intervals = estimate(
        table(labels, probabilities, groups=groups),
        ["balanced_accuracy", "accuracy", "log_loss"],
        resamples=100,
    )
    assert "anger has 50 images from 6 groups" in intervals["balanced_accuracy"].note
    for name in ("accuracy", "log_loss"):
        assert "come from 6 groups" in intervals[name].note
        assert not intervals[name].reliable


def test_an_absent_class_has_no_interval_and_the_rest_has() -> None:
    labels, probabilities = fixed_mix([40, 40, 0, 40, 40, 40, 40], seed=11)
    intervals = estimate(table(labels, probabilities), resamples=100)
    for name in ("recall/fear", "auroc/fear", "average_precision/fear"):
        assert math.isnan(intervals[name].low), name
        assert not intervals[name].reliable
    assert "fear has no image in this set" in intervals["recall/fear"].note
    assert "fear has no images (under 10)" in intervals["f1_macro"].note
    assert intervals["auroc/anger"].reliable
    probabilities[:, 0] = 0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    never = estimate(table(labels, probabilities), ["precision/anger"], resamples=10)["precision/anger"]
    assert "anger is never predicted" in never.note


def test_a_perfect_score_is_no_certainty() -> None:
    labels = np.arange(70) % 2
    perfect = table(labels, 0.8 * np.eye(2)[labels] + 0.1, ("a", "b"))
    intervals = estimate(perfect, ["accuracy", "f1_macro"], resamples=100)
    assert (intervals["accuracy"].low, intervals["accuracy"].high) == pytest.approx(wilson(70, 70))
    assert intervals["f1_macro"].low == intervals["f1_macro"].high == 1
    assert "all resamples give the same value" in intervals["f1_macro"].note


def test_wrong_input_is_refused() -> None:
    with pytest.raises(DataError, match="at least two independent images .* found 1 .1 image[)]"):
        estimate(simulated(1))
    with pytest.raises(DataError, match="at least two independent images .* found 1 .3 images"):
        estimate(simulated(3, groups=["same"] * 3))
    with pytest.raises(DataError, match="between 0 and 1, such as 0.95, found 95"):
        estimate(simulated(10), confidence=95)
    with pytest.raises(DataError, match=r"found uar\."):
        estimate(simulated(10), ["uar"])


def coverage(
    sets: int, resamples: int, names: list[str], supports: list[int], grouped: bool = False
) -> dict[str, float]:
    """The share of simulated test sets whose interval holds the value of a very large one."""
    large = [compute(*fixed_mix([size * 400 for size in supports], seed), CLASSES) for seed in (1, 2, 3)]
    truth = {name: float(np.mean([values[name] for values in large])) for name in names}
    held = dict.fromkeys(names, 0)
    for seed in range(sets):
        labels, probabilities = fixed_mix(supports, 1000 + seed)
        groups = None
        if grouped:
            labels, probabilities = np.repeat(labels, 2), np.repeat(probabilities, 2, axis=0)
            groups = [f"p{row // 2}" for row in range(len(labels))]
        intervals = estimate(
            table(labels, probabilities, groups=groups), names, resamples=resamples, seed=seed
        )
        for name, interval in intervals.items():
            held[name] += interval.low <= truth[name] <= interval.high
    return {name: count / sets for name, count in held.items()}


def test_intervals_hold_the_truth_in_95_of_100_sets() -> None:
    names = ["accuracy", "recall/fear", "balanced_accuracy", "f1_macro", "f1/fear", "mcc", "log_loss"]
    found = coverage(300, 200, names, [50, 60, 70, 80, 60, 50, 50])
    # 300 sets tell the coverage to ± 2.5 points; the slow test is sharper
    assert all(0.92 <= share <= 0.985 for share in found.values()), found


def test_intervals_of_groups_hold_the_truth_too() -> None:
    names = ["accuracy", "balanced_accuracy", "f1_macro", "recall/fear"]
    found = coverage(200, 300, names, [50, 50, 60, 50, 60, 50, 50], grouped=True)
    assert all(0.91 <= share <= 0.99 for share in found.values()), found


@pytest.mark.slow
def test_intervals_hold_the_truth_in_93_to_97_of_100_sets() -> None:
    names = [name for name in metric_names(CLASSES) if not name.startswith("support/")]
    found = coverage(1000, 1000, names, [50, 60, 80, 100, 100, 150, 300])
    for name, share in found.items():
        # classwise bins hold a few images each; 1,000 sets tell a coverage to ± 0.7 points
        low = 0.9 if name == "ece_classwise" else 0.925
        high = 0.97
        assert low <= share <= high, (name, share)


@pytest.mark.slow
def test_the_precision_of_sets_of_any_mix_is_in_93_to_97_of_100_wilson_intervals() -> None:
    shares, count = np.array([1, 1, 1, 2, 2, 2, 3]) / 12, 900
    names = [f"precision/{name}" for name in CLASSES]
    large = compute(*fixed_mix((shares * 600_000).astype(int).tolist(), 1), CLASSES)
    held = dict.fromkeys(names, 0)
    for seed in range(1000):
        rng = np.random.default_rng(5000 + seed)
        labels = rng.choice(K, size=count, p=shares)
        found = estimate(table(labels, answers(labels, rng)), names, stratified=False)
        for name, interval in found.items():
            held[name] += interval.low <= large[name] <= interval.high
    assert all(930 <= times <= 970 for times in held.values()), held


NATURE = [1, 2, 4, 30, 40, 10, 5]


def trust_of(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return trust(confusion_matrix(labels, probabilities.argmax(axis=1), K), NATURE)


def test_the_interval_of_trust_is_that_of_a_naive_bootstrap() -> None:
    found = simulated(300, seed=13)
    (weights,) = resample(units_of(found.labels, found.groups), 200, 7)
    drawn = []
    for column in weights.astype(int).T:
        rows = np.repeat(np.arange(300), column)
        drawn.append(trust_of(found.labels[rows], found.probabilities[rows]))
    intervals = estimate_trust(found, NATURE, resamples=200, seed=7)
    assert list(intervals) == list(CLASSES)
    ends = np.quantile(drawn, [0.005, 0.2, 0.8, 0.995], axis=0)
    for k, (interval, value) in enumerate(
        zip(intervals.values(), trust_of(found.labels, found.probabilities), strict=True)
    ):
        assert interval.value == pytest.approx(value)
        assert (
            ends[0, k] <= interval.low < ends[1, k] < ends[2, k] < interval.high <= ends[3, k]
        )  # BCa moves them


def test_trust_at_the_own_shares_is_the_precision() -> None:
    found = simulated(400, seed=14)
    intervals = estimate_trust(found, np.bincount(found.labels), resamples=300)
    values = compute(found.labels, found.probabilities, CLASSES)
    for name, interval in intervals.items():
        assert interval.value == pytest.approx(values[f"precision/{name}"])


def test_trust_that_nothing_is_known_about() -> None:
    labels, probabilities = fixed_mix([40, 40, 0, 9, 40, 40, 40], seed=15)
    probabilities[:, 0] = 0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    intervals = estimate_trust(table(labels, probabilities), NATURE, resamples=100)
    for name in ("anger", "fear"):  # never predicted; no image
        assert math.isnan(intervals[name].value)
        assert not intervals[name].reliable
    assert "happiness has 9 images (under 10)" in intervals["happiness"].note
    assert intervals["surprise"].reliable
    with pytest.raises(DataError, match="prior of 7 shares"):
        estimate_trust(table(labels, probabilities), [0.5, 0.5])
    with pytest.raises(DataError, match="at least two independent images"):
        estimate_trust(simulated(1), NATURE)


def trust_coverage(sets: int, resamples: int) -> np.ndarray:
    supports = [50, 60, 80, 100, 100, 150, 300]
    truth = np.mean([trust_of(*fixed_mix([400 * n for n in supports], seed)) for seed in (1, 2, 3)], axis=0)
    held = np.zeros(K)
    for seed in range(sets):
        found = table(*fixed_mix(supports, 1000 + seed))
        intervals = estimate_trust(found, NATURE, resamples=resamples, seed=seed).values()
        held += [
            interval.low <= true <= interval.high for interval, true in zip(intervals, truth, strict=True)
        ]
    return held / sets


def test_intervals_of_trust_hold_the_truth() -> None:
    found = trust_coverage(200, 300)
    assert ((found >= 0.91) & (found <= 0.99)).all(), found


@pytest.mark.slow
def test_intervals_of_trust_hold_the_truth_in_93_to_97_of_100_sets() -> None:
    found = trust_coverage(1000, 1000)
    assert ((found >= 0.93) & (found <= 0.97)).all(), found


def test_ten_thousand_resamples_of_fer2013_give_every_interval() -> None:
    intervals = estimate(simulated(3589, seed=12), resamples=10_000)
    assert len(intervals) == len(metric_names(CLASSES)) - K
    for name, found in intervals.items():
        if not name.startswith("ece"):  # biased upwards, so its interval may lie below it
            assert found.low < found.value < found.high, name
