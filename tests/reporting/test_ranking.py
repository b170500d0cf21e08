"""The ranked table of `emotion compare`: its numbers are those of the paired tests, its letters too."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from emotion.errors import DataError, RunError
from emotion.evaluation import predictions
from emotion.evaluation.comparison import compare, compare_folds
from emotion.evaluation.folds import pool
from emotion.evaluation.predictions import Part, Predictions
from emotion.reporting.ranking import rank
from emotion.reporting.tables import Table
from emotion.runs import RunFolder
from tests.reporting import fakes
from tests.reporting.page_tree import number


def rows(table: Table) -> dict[str, dict[str, str]]:
    """First cell → heading → text."""
    titles = [column.title for column in table.columns]
    return {row[0].text: dict(zip(titles, [cell.text for cell in row], strict=True)) for row in table.rows}


def tables_of(runs: list[RunFolder], part: Part) -> list[Predictions]:
    return [predictions.read(run.predictions(part)) for run in runs]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Two networks that are hardly different, and a clearly worse one."""
    folder = tmp_path_factory.mktemp("three")
    return [
        fakes.make_run(folder, count=700, skill=skill, config={"model.name": name})
        for name, skill in (("worse", 0.6), ("good", 1.6), ("equal", 1.61))
    ]


@pytest.mark.parametrize("part", ["val", "test"])
def test_the_table_holds_the_numbers_of_scikit_learn(three: list[RunFolder], part: Part) -> None:
    found = rows(rank(three, part=part).table)
    for run, table in zip(three, tables_of(three, part), strict=True):
        row = found[run.config["model"]["name"]]
        truth, answer = table.labels, table.predicted
        assert number(row["Accuracy"]) == pytest.approx(sk.accuracy_score(truth, answer), abs=6e-4)
        balanced = sk.balanced_accuracy_score(truth, answer)
        assert number(row["Balanced accuracy"]) == pytest.approx(balanced, abs=6e-4)
        macro = sk.f1_score(truth, answer, average="macro")
        assert number(row["Macro F1"]) == pytest.approx(macro, abs=6e-4)
        assert number(row["Log loss"]) == pytest.approx(sk.log_loss(truth, table.probabilities), abs=6e-4)


def test_letters_follow_from_mcnemars_test_with_holms_correction(three: list[RunFolder]) -> None:
    found = rank(three)
    right = {
        table.meta.run.split("-")[1]: table.predicted == table.labels for table in tables_of(three, "val")
    }
    pairs = [("worse", "good"), ("worse", "equal"), ("good", "equal")]
    p_values = []
    for one, other in pairs:
        only = int((right[one] & ~right[other]).sum()), int((right[other] & ~right[one]).sum())
        p_values.append(stats.binomtest(only[0], sum(only)).pvalue)
    differs = {
        pair: p * (3 - place) <= 0.05
        for place, (p, pair) in enumerate(sorted(zip(p_values, pairs, strict=True)))
    }
    assert differs == {("worse", "good"): True, ("worse", "equal"): True, ("good", "equal"): False}
    letters = {name: row["Group"] for name, row in rows(found.table).items()}
    assert letters == {"good": "a", "equal": "a", "worse": "b"}
    assert "can't be told from it on these 700 images; 1 is worse than it." in found.comparison.sentence
    assert found.table.notes == (found.comparison.sentence,)
    assert "All runs chose the best epoch on these very images" in found.notes[0]


def test_folds_are_pooled_and_tested_over_folds(sweep: list[RunFolder]) -> None:
    found = rank(sweep, "f1_macro")
    tables = [
        pool(tables_of([run for run in sweep if name in run.name], "val"), run=name)
        for name in ("resnet18", "minivgg")
    ]
    expected = compare(tables, names=["resnet18", "minivgg"], metric="f1_macro")
    assert found.comparison.ranking.equals(expected.ranking)
    assert found.comparison.sentence == expected.sentence
    over = compare_folds(*tables, "f1_macro", folds=4)
    assert found.folds is not None
    ((pair, difference, p_value),) = found.folds.rows
    assert pair.text == "resnet18 − minivgg"
    assert difference.sort == pytest.approx(over.value)
    assert p_value.sort == pytest.approx(over.p_value)


def test_folds_of_one_test_part_are_not_pooled(sweep: list[RunFolder]) -> None:
    with pytest.raises(RunError, match="minivgg: each of its 4 folds has answered the same test images"):
        rank(sweep, part="test")


def test_an_interval_that_cannot_be_trusted_is_marked(tmp_path: Path) -> None:
    labels = np.array([0] * 40 + [1] * 40 + [2] * 6)
    runs = []
    for seed in range(2):
        scores = 0.4 * np.eye(3)[labels] + 0.6 * np.random.default_rng(seed).dirichlet(np.ones(3), 86)
        runs.append(fakes.make_run(tmp_path, classes=("a", "b", "c"), parts=("val",), seed=seed,
                                   tables={"val": (labels, scores)}))  # fmt: skip
    found = rank(runs, "f1_macro")
    assert all(row[1].note.endswith("*") for row in found.table.rows)
    assert "interval not reliable: c has 6 images (under 10); the pooled out-of-fold table" in found.notes[0]
    assert not any(row[1].note.endswith("*") for row in rank(runs).table.rows)


def test_the_most_that_fit_together_are_compared(three: list[RunFolder], tmp_path: Path) -> None:
    """One easy run on other images comes first by its score, and doesn't push the others out."""
    easy = fakes.make_run(tmp_path, count=90, skill=9, config={"model.name": "easy"})
    found = rank([easy, *three])
    assert set(rows(found.table)) == {"good", "equal", "worse"}
    (note,) = [note for note in found.notes if "easy" in note]
    assert "judged by other images, labels or classes: easy. expected the same images, found 610 ids" in note


def test_an_unknown_metric_is_named(three: list[RunFolder]) -> None:
    with pytest.raises(DataError, match=r"expected metrics among accuracy, .*; found uar\."):
        rank(three, "uar")


def test_one_run_is_not_a_comparison(three: list[RunFolder]) -> None:
    with pytest.raises(RunError, match="expected two or more configurations .* found 1 among 1 run"):
        rank(three[:1])
