"""A study's table and page from kept runs: what was measured, by how much less than the full profile, on what."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import f1_score, precision_recall_fscore_support

from emotion.evaluation import predictions
from emotion.evaluation.published import beside, measure
from emotion.reporting import numbers
from emotion.reporting.page import Beside, Folded, Matrix
from emotion.reporting.report import render
from emotion.runs import RunFolder
from emotion.studies.outcomes import Outcome, StudyTable, gather, steps_of
from emotion.studies.page import (
    class_tables,
    cost_table,
    findings,
    latex,
    main_table,
    markdown,
    page,
    result_tables,
    steps,
)
from emotion.studies.run import Place, StudyRun
from emotion.studies.study import PROFILES, Profile, Study, load, parse, study_names
from emotion.studies.tasks import Results, changed, tasks_of
from tests.reporting import fakes
from tests.reporting.page_tree import parse as parse_page

STUDY: dict[str, Any] = {
    "name": "small",
    "title": "Two rows",
    "report": "r",
    "about": "a",
    "overrides": ["trainer.max_epochs=100"],
    "cannot_support": ["much"],
    "profiles": {
        "full": {"about": "a", "seeds": [0, 1]},
        "short": {"about": "a", "seeds": [0], "overrides": ["trainer.max_epochs=10"]},
        "smoke": {"about": "a", "seeds": [0], "overrides": ["trainer.max_epochs=1"]},
    },
    "rows": [
        {
            "name": "one",
            "title": "the one",
            "data": "fer2013",
            "overrides": ["model=minivgg"],
            "minutes": {"full": 60, "short": 7},
            "published": {"accuracy": 0.6, "n": 3589, "parameters": 3060071},
        },
        {
            "name": "two",
            "title": "the other",
            "data": "fer2013",
            "overrides": ["model=minivgg_tuned"],
            "against": "one",
            "profiles": {"short": ["model.input_size=64"]},
            "minutes": {"full": 90, "short": 9},
        },
        {"name": "both", "title": "both", "ensemble": ["one", "two"]},
    ],
}


def small() -> Study:
    return parse(yaml.safe_dump(STUDY), "here")


def keep(
    results: Results, study: Study, row: str, profile: Profile, seed: int, runs: Path, skill: float = 1.0
) -> RunFolder:
    """A kept run of balanced sampling, whose every epoch was trained."""
    run = fakes.make_run(
        runs,
        seed=seed,
        config={"sampling": {"name": "balanced"}, "name": f"{row}{profile}"},
        count=400,
        skill=skill,
    )
    found = json.loads(run.file("metrics.json").read_text())
    found["cost"]["epochs"] = {"full": 100, "short": 10, "smoke": 1}[profile]
    run.file("metrics.json").write_text(json.dumps(found))
    (task,) = [task for task in tasks_of(study, study.row(row), profile) if task.seed == seed]
    results.keep(task, RunFolder(run.path))
    return run


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "kept", tmp_path / "beside")


def cells(found: StudyTable, row: int) -> dict[str, str]:
    """A row of both tables by the headings."""
    scores, costs = main_table(found), cost_table(found)
    lines = [(scores.columns, scores.rows[row])]
    lines += [(costs.columns, line) for line in costs.rows if line[0].text == scores.rows[row][0].text]
    return {
        column.title: cell.text for columns, line in lines for column, cell in zip(columns, line, strict=True)
    }


def test_two_seeds_of_the_full_profile(results: Results, tmp_path: Path) -> None:
    study = small()
    runs = [keep(results, study, "one", "full", seed, tmp_path / "runs") for seed in (0, 1)]
    found = gather(study, results)
    row = cells(found, 0)
    tables = [predictions.read(run.predictions("test")) for run in runs]
    each = [float((table.labels == table.predicted).mean()) for table in tables]
    assert row["ours"] == f"{100 * np.mean(each):.1f} ± {100 * np.std(each, ddof=1):.1f}{numbers.SPACE}%"
    expected = beside(measure(tables), 0.6, 3589)
    assert row["difference"] == numbers.points(expected.value)
    assert main_table(found).rows[0][4].note == numbers.points_interval(expected.low, expected.high)
    assert row["verdict"] == expected.verdict
    assert (row["runs"], row["epochs"], row["profile"]) == ("2", "100", "full")
    assert row["hardware"] == "Test CPU, 2 threads, fp32"
    assert row["training, ours"] == "20 min 42 s"


def test_a_run_is_that_of_every_profile_that_asks_for_the_same(results: Results, tmp_path: Path) -> None:
    """A profile that does nothing otherwise doesn't train a seed again that another one has trained."""
    other = small()
    keep(results, other, "one", "short", 0, tmp_path / "other")
    assert [task.seed for task in tasks_of(other, other.row("one"), "full") if results.find(task)] == []
    settings = STUDY["profiles"] | {"short": {"about": "a", "seeds": [0]}}
    same = parse(yaml.safe_dump(STUDY | {"profiles": settings}), "here")
    keep(results, same, "one", "short", 0, tmp_path / "same")
    assert [task.seed for task in tasks_of(same, same.row("one"), "full") if results.find(task)] == [0]
    row = cells(gather(same, results), 0)
    assert (row["runs"], row["profile"]) == ("1 of 2", "full")
    settings |= {"short": settings["short"] | {"drawn": 140}}
    drawn = parse(yaml.safe_dump(STUDY | {"profiles": settings}), "here")
    for profile, kept in (("full", []), ("short", [0])):  # drawn faces count for nothing else
        found = [t.seed for t in tasks_of(drawn, drawn.row("one"), profile) if results.find(t)]
        assert found == kept, profile


def test_a_row_is_held_against_each_that_it_names(results: Results, tmp_path: Path) -> None:
    row = STUDY["rows"][1] | {"name": "three", "title": "the third", "against": ["one", "two"]}
    study = parse(yaml.safe_dump(STUDY | {"rows": [*STUDY["rows"], row]}), "here")
    for name in ("one", "two", "three"):
        keep(results, study, name, "full", 0, tmp_path / name)
    pairs = [(step.outcome.row.name, step.other.row.name) for step in steps_of(gather(study, results))]
    assert pairs == [("two", "one"), ("three", "one"), ("three", "two")]


def test_a_compiled_run_s_time_says_so(results: Results, tmp_path: Path) -> None:
    study = small()
    keep(results, study, "one", "full", 0, tmp_path / "runs")
    run = gather(study, results).outcomes[0].runs[0]
    run.file("environment.json").write_text(json.dumps(run.environment | {"compiled": True}))
    assert cells(gather(study, results), 0)["hardware"] == "Test CPU, 2 threads, fp32, compiled"


@pytest.mark.parametrize("name", study_names())
def test_every_published_number_is_printed(name: str, results: Results) -> None:
    """Each with as many digits as the table gives, whether anything of ours is measured or not."""
    found = gather(load(name), results)
    made = page(found)
    classes = {table.caption: {row[0].text: row for row in table.rows} for table in class_tables(found)}
    matrices = [
        one.counts
        for section in made.sections
        for row in section.blocks
        if isinstance(row, Folded)
        for beside in row.blocks
        if isinstance(beside, Beside)
        for one in beside.blocks
        if isinstance(one, Matrix)
    ]
    for outcome in found.outcomes:
        published = outcome.row.published
        for label, one in (*published.classes.items(), *published.averages.items()):
            row = classes[f"Classes: {outcome.title}"][label]
            given = [
                numbers.MISSING if v is None else f"{v:.3f}" for v in (one.precision, one.recall, one.f1)
            ]
            assert [row[place].text for place in (3, 5, 7)] == given, (outcome.title, label)
        rows = [row for table in result_tables(found) for row in table.rows if row[0].text == outcome.title]
        shown = [cell.text for row in rows for cell in row]
        expected = [f"{score:.3f}" for score in published.metrics.values()]
        expected += [f"{value:,}" for value in (published.parameters, published.trainable) if value]
        expected += [f"{published.file_mb:.1f} MB"] if published.file_mb else []
        if published.accuracy is not None:  # as typed in the study's file, which has the report's digits
            typed = f"{100 * published.accuracy:.6g}"
            expected.append(f"{typed if '.' in typed else f'{typed}.0'} %")
        for number in expected:
            assert number in [text.replace(numbers.SPACE, " ") for text in shown], (outcome.title, number)
        if published.confusion is not None:
            total = sum(map(sum, published.confusion.counts))
            right = sum(
                published.confusion.counts[row][published.confusion.columns.index(label)]
                for row, label in enumerate(published.confusion.rows)
                if label in published.confusion.columns
            )
            assert (total, right) in [(counts.sum(), counts.trace()) for counts in matrices]


def test_the_classes_averages_are_scikit_learn_s(results: Results, tmp_path: Path) -> None:
    recall = {
        "classes": {"anger": {"recall": 0.5}},
        "averages": {"macro": {"f1": 0.4}, "weighted": {"f1": 0.5}},
    }
    study = parse(yaml.safe_dump(STUDY | {"rows": [STUDY["rows"][0] | {"published": recall}]}), "here")
    run = keep(results, study, "one", "short", 0, tmp_path / "runs")
    (table,) = class_tables(gather(study, results, "short"))
    scored = predictions.read(run.predictions("test"))
    for row, average in zip(table.rows[1:], ("macro", "weighted"), strict=True):
        expected = precision_recall_fscore_support(scored.labels, scored.predicted, average=average)[:3]
        ours = [cell.sort for cell in row[4::2]]
        assert ours == [pytest.approx(value) for value in expected]


def test_a_shortened_row_says_so_everywhere(results: Results, tmp_path: Path) -> None:
    study = small()
    for row in ("one", "two"):
        keep(results, study, row, "short", 0, tmp_path / "runs" / row)
    found = gather(study, results)
    one, two, both = (cells(found, row) for row in range(3))
    assert one["profile"] == "short: max_epochs 10 instead of 100"
    assert one["verdict"].endswith(", shortened")
    assert (one["epochs"], one["runs"]) == ("10", "1")
    assert "model.input_size 64 instead of default" in two["profile"]
    assert both["profile"] == two["profile"]  # by what it averages
    assert any("max_epochs 10 instead of 100" in line for _, lines in findings(found) for line in lines)
    for text in (markdown(found), latex(found)):
        assert "max_epochs 10 instead of 100" in text.replace("\\_", "_")


def test_shortened_rows_have_no_verdict_on_the_report_but_one_that_is_shortened_alike(
    results: Results, tmp_path: Path
) -> None:
    one = STUDY["rows"][0]
    variant = {"name": "variant", "title": "a variant", "like": "one", "overrides": ["augment=basic"]}
    variant["published"] = {"accuracy": 0.55, "n": 3589}
    study = parse(yaml.safe_dump(STUDY | {"rows": [one, variant]}), "here")
    base = keep(results, study, "one", "short", 0, tmp_path / "one")
    keep(results, study, "variant", "short", 0, tmp_path / "variant")
    for seed in (0, 1):
        keep(results, study, "one", "full", seed, tmp_path / "full", skill=2.0)
    told = dict(findings(gather(study, results)))
    (line,) = told["Shortened, so no verdict on the report"]
    table = predictions.read(base.predictions("test"))
    reached = numbers.percent((table.labels == table.predicted).mean())
    assert line.startswith("a variant: ")
    assert line.endswith(f"(short: max_epochs 10 instead of 100; the one likewise: {reached})")
    assert not any("a variant" in line for name in ("Reproduced", "Below the report") for line in told[name])


def test_a_profile_with_other_images_is_not_compared(results: Results, tmp_path: Path) -> None:
    one = STUDY["rows"][0] | {"profiles": {"short": ["data.per_class=50"]}}
    study = parse(yaml.safe_dump(STUDY | {"rows": [one]}), "here")
    keep(results, study, "one", "short", 0, tmp_path)
    row = cells(gather(study, results), 0)
    assert row["verdict"] == "not compared: the profile takes other images"
    assert row["difference"] == numbers.MISSING
    assert row["ours"] != numbers.MISSING


def test_accuracy_without_twins_stands_beside(results: Results, tmp_path: Path) -> None:
    study = small()
    for row in ("one", "two"):
        run = keep(results, study, row, "short", 0, tmp_path / row)
    assert "without twins" not in cells(gather(study, results), 0)
    table = predictions.read(run.predictions("test"))
    leaked = table.frame["id"].to_list()[::3]
    folder = results.committed / "short" / "two-s0"
    splits = json.loads((folder / "splits.json").read_text())
    (folder / "splits.json").write_text(json.dumps(splits | {"leaked_test_ids": leaked}))
    found = gather(study, results)
    right = (table.predicted == table.labels)[np.arange(len(table)) % 3 != 0]
    assert cells(found, 1)["without twins"] == numbers.percent(right.mean())
    assert cells(found, 0)["without twins"] == numbers.MISSING
    assert f"{numbers.percent(right.mean())} ({len(leaked)} fewer)".replace(numbers.SPACE, " ") in markdown(
        found
    )
    everything = json.dumps(splits | {"leaked_test_ids": table.frame["id"].to_list()})
    (folder / "splits.json").write_text(everything)
    assert gather(study, results).outcomes[1].without_twins is None


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"overrides": ["model=minivgg"]}, "not measured yet"),
        (
            {"overrides": ["model=minivgg"], "data": "affectnet"},
            "not measured yet: needs affectnet (--data-root affectnet=DIR)",
        ),
        (
            {"overrides": ["model=vgg16", "model.pretrained=true"]},
            "not measured yet: needs published weights of vgg16 (offline: --weights vgg16=FILE)",
        ),
        (
            {"overrides": ["model=vgg16"], "init_from": "weights"},
            "not measured yet: needs published weights of resnet18 (offline: --weights resnet18=FILE)",
        ),
        (
            {"overrides": ["model=efficientnet_lite0", "model.pretrained=true"]},
            "not measured yet: needs published weights of tf_efficientnet_lite0 (offline: --weights "
            "tf_efficientnet_lite0=FILE)",
        ),
    ],
)  # fmt: skip
def test_a_row_that_is_not_measured_says_what_it_needs(
    results: Results, tmp_path: Path, row: dict[str, Any], expected: str
) -> None:
    one = STUDY["rows"][0]
    named = {**one, "name": "named", "title": "named", **row}
    source = {**one, "name": "weights", "overrides": ["model=resnet18", "model.pretrained=true"]}
    study = parse(yaml.safe_dump(STUDY | {"rows": [one, named, source]}), "here")
    keep(results, study, "one", "short", 0, tmp_path)
    assert cells(gather(study, results), 1)["verdict"] == expected


def test_weights_that_a_study_asks_for_in_all_its_rows_are_needed(results: Results) -> None:
    overrides = [*STUDY["overrides"], "model.pretrained=true"]
    study = parse(yaml.safe_dump(STUDY | {"overrides": overrides}), "here")
    assert "published weights of minivgg" in cells(gather(study, results), 0)["verdict"]


def test_a_step_between_two_precisions_is_marked(results: Results, tmp_path: Path) -> None:
    study = small()
    for row in ("one", "two"):
        keep(results, study, row, "short", 0, tmp_path / row, skill=1.0 if row == "one" else 2.0)
    table = steps(gather(study, results))
    assert table is not None
    assert not any("†" in note for note in table.notes)
    file = results.committed / "short" / "one-s0" / "environment.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in known.items() if key != "precision"}))
    table = steps(gather(study, results))
    assert table is not None
    assert not any("†" in note for note in table.notes)  # as of a probe, which isn't trained
    file.write_text(json.dumps(known | {"precision": "bf16"}))
    found = gather(study, results)
    table = steps(found)
    assert table is not None
    assert table.rows[0][2].text == "short, 1 run†"
    assert table.notes[-1].startswith("†: trained in different precisions")


@pytest.mark.parametrize(("skill", "title"), [(3.0, "Higher macro F1"), (0.2, "Lower macro F1"), (1.0, None)])
def test_findings_say_which_steps_change_macro_f1(
    results: Results, tmp_path: Path, skill: float, title: str | None
) -> None:
    study = small()
    for row in ("one", "two"):
        keep(results, study, row, "short", 0, tmp_path / row, skill=1.0 if row == "one" else skill)
    found = gather(study, results)
    told = {name: lines for name, lines in findings(found) if "macro F1" in name and lines}
    expected = f"{title} than the row it is held against, by one run of each: another seed may differ by more"
    assert list(told) == ([] if title is None else [expected])
    for (line,) in told.values():
        assert line.startswith("the other against the one: ")
        assert "(1 run" in line


def test_what_a_step_brings_is_measured_on_the_same_images(results: Results, tmp_path: Path) -> None:
    study = small()
    for row in ("one", "two"):
        keep(results, study, row, "short", 0, tmp_path / "runs" / row, skill=1.0 if row == "one" else 1.6)
    found = gather(study, results)
    table = steps(found)
    assert table is not None
    ((name, against, profile, theirs, accuracy, _, f1),) = table.rows
    one, two = (outcome.tables[0] for outcome in found.outcomes[:2])
    assert (name.text, against.text, profile.text) == ("the other", "the one", "short, 1 run")
    assert theirs.text == numbers.MISSING
    gained = float((two.predicted == two.labels).mean() - (one.predicted == one.labels).mean())
    assert accuracy.sort == pytest.approx(gained)
    assert gained > 0
    assert accuracy.note.startswith("+")  # such a step is found on 400 images
    scores = [f1_score(t.labels, t.predicted, average="macro", labels=range(7)) for t in (two, one)]
    assert f1.sort == pytest.approx(scores[0] - scores[1])


def test_a_step_is_between_runs_of_one_profile(results: Results, tmp_path: Path) -> None:
    """One row has full runs too, which a short one isn't held against."""
    study = small()
    keep(results, study, "two", "short", 0, tmp_path / "two")
    for seed in (0, 1):
        keep(results, study, "one", "full", seed, tmp_path / "one", skill=2.0)
    assert steps(gather(study, results)) is None
    keep(results, study, "one", "short", 0, tmp_path / "short")
    found = gather(study, results)
    assert [outcome.profile for outcome in found.outcomes[:2]] == ["full", "short"]
    table = steps(found)
    assert table is not None
    one, two = (found.by_profile[row]["short"].tables[0] for row in ("one", "two"))
    gained = float((two.predicted == two.labels).mean() - (one.predicted == one.labels).mean())
    assert table.rows[0][4].sort == pytest.approx(gained)


@pytest.mark.parametrize(("differs", "expected"), [(None, "+10.0"), ("a leaky number", numbers.MISSING)])
def test_what_they_gained_is_told_only_of_numbers_that_can_be_compared(
    results: Results, tmp_path: Path, differs: str | None, expected: str
) -> None:
    one, two, _ = STUDY["rows"]
    rows = [one, two | {"published": {"accuracy": 0.7, "n": 3589}, "differs": differs}]
    study = parse(yaml.safe_dump(STUDY | {"rows": rows}), "here")
    for row in ("one", "two"):
        keep(results, study, row, "short", 0, tmp_path / row)
    table = steps(gather(study, results))
    assert table is not None
    assert table.rows[0][3].text == expected


def test_steps_of_macro_scores_with_rare_classes_are_marked(results: Results, tmp_path: Path) -> None:
    study = small()
    for row in ("one", "two"):
        run = keep(results, study, row, "short", 0, tmp_path / row)
        kept = results.committed / "short" / f"{row}-s0" / "predictions" / "test.parquet"
        whole = predictions.read(run.predictions("test"))
        rare = whole.frame.filter((whole.frame["label"] != 3) | (whole.frame["label"].cum_count() % 40 == 0))
        predictions.write(kept, predictions.Predictions(rare, whole.classes, whole.meta))
    table = steps(gather(study, results))
    assert table is not None
    accuracy, balanced, f1 = table.rows[0][-3:]
    assert [cell.note.endswith("*") for cell in (accuracy, balanced, f1)] == [False, True, True]
    assert "of disgust, happiness there are under 10" in table.notes[1]


def test_one_seed_in_full_goes_before_a_shortened_row(results: Results, tmp_path: Path) -> None:
    study = small()
    keep(results, study, "one", "short", 0, tmp_path / "runs")
    row = cells(gather(study, results), 0)
    assert (row["runs"], row["epochs"]) == ("1", "10")
    keep(results, study, "one", "full", 1, tmp_path / "runs")
    row = cells(gather(study, results), 0)
    assert (row["runs"], row["epochs"]) == ("1 of 2", "100")
    row = cells(gather(study, results, "short"), 0)
    assert (row["runs"], row["epochs"]) == ("1", "10")


@pytest.mark.parametrize(
    ("one", "two", "averaged"),
    [([0], [], []), ([0], [1], []), ([0, 1], [1], [1]), ([0, 1], [0, 1], [0, 1])],
)
def test_an_average_is_of_the_seeds_that_all_of_its_rows_have(
    results: Results, tmp_path: Path, one: list[int], two: list[int], averaged: list[int]
) -> None:
    study = small()
    made = {
        (row, seed): keep(results, study, row, "full", seed, tmp_path / row)
        for row, seeds in (("one", one), ("two", two))
        for seed in seeds
    }
    found = gather(study, results)
    assert cells(found, 2)["runs"] == {0: "0", 1: "average of 2 of 4", 2: "average of 4"}[len(averaged)]
    assert (found.outcomes[2].ours is None) == (not averaged)
    if averaged:
        tables = [
            predictions.read(made[row, seed].predictions("test"))
            for row in ("one", "two")
            for seed in averaged
        ]
        ours = np.mean([table.probabilities for table in tables], axis=0).argmax(axis=1)
        measured = found.outcomes[2].ours
        assert measured is not None
        assert measured.value == pytest.approx((ours == tables[0].labels).mean())


def test_what_is_there_of_a_row_made_of_another_s_runs_is_shown(results: Results, tmp_path: Path) -> None:
    """A classifier on features, or another part: by one seed of two, as a row that is trained is."""
    derived = [
        {"name": "svm", "title": "svm", "probe": {"row": "one", "head": "svm"}},
        {"name": "again", "title": "again", "runs_of": "one"},
    ]
    study = parse(yaml.safe_dump({**STUDY, "rows": [STUDY["rows"][0], *derived]}), "here")
    keep(results, study, "one", "full", 1, tmp_path / "one")
    keep(results, study, "svm", "full", 1, tmp_path / "svm")
    found = gather(study, results)
    assert [cells(found, row)["runs"] for row in range(3)] == ["1 of 2"] * 3
    assert all(outcome.ours is not None for outcome in found.outcomes)


def test_an_average_of_one_run_has_no_numbers(results: Results, tmp_path: Path) -> None:
    study = parse(
        yaml.safe_dump(
            {**STUDY, "rows": [STUDY["rows"][0], {"name": "seeds", "title": "seeds", "ensemble": ["one"]}]}
        ),
        "here",
    )
    keep(results, study, "one", "short", 0, tmp_path)
    (_, average) = gather(study, results).outcomes
    assert (average.runs, average.tables, average.profile, average.verdict) == (
        (),
        (),
        None,
        "not measured yet",
    )


def test_a_seed_counts_once_all_of_its_folds_are_kept(results: Results, tmp_path: Path) -> None:
    row = {**STUDY["rows"][0], "folds": 2, "published": {"accuracy": 0.6, "n": 3589, "part": "val"}}
    study = parse(yaml.safe_dump({**STUDY, "rows": [row]}), "here")

    def table(*kept: tuple[int, int]) -> tuple[str, str, int]:
        for task in tasks_of(study, study.rows[0], "full"):
            if (task.seed, task.fold) in kept:
                runs = tmp_path / task.name
                results.keep(task, fakes.make_run(runs, seed=task.seed, fold=task.fold, count=300))
        found = gather(study, results)
        (outcome,) = found.outcomes
        return cells(found, 0)["runs"], outcome.verdict, outcome.images

    assert table((0, 0)) == ("0", "not measured yet: needs fer2013 (--data-root fer2013=DIR)", 0)
    runs, _, images = table((0, 1), (1, 0))
    assert (runs, images) == ("2 of 4, 2 folds", 600)
    runs, _, images = table((1, 1))
    assert (runs, images) == ("4, 2 folds", 600)


@pytest.mark.parametrize(
    ("seeds", "made"),
    [(([0, 1], [1]), "full, 1 run"), (([0, 1], [0, 1]), "full, 2 runs"), (([0], [1]), None)],
)
def test_a_step_is_taken_between_the_same_seeds(
    results: Results, tmp_path: Path, seeds: tuple[list[int], list[int]], made: str | None
) -> None:
    """Those that both rows have; where there are none, by the next profile."""
    study = small()
    for row, full in zip(("one", "two"), seeds, strict=True):
        for seed in full:
            keep(
                results,
                study,
                row,
                "full",
                seed,
                tmp_path / f"{row}{seed}",
                skill=0.5 + seed + (row == "two"),
            )
    found = list(steps_of(gather(study, results)))
    assert len(found) == (made is not None)
    for step in found:
        ours, theirs = (
            [json.loads(r.file("metrics.json").read_text())["test"]["accuracy"] for r in of.runs]
            for of in (step.outcome, step.other)
        )
        assert step.gaps["accuracy"].value == pytest.approx(np.mean(ours) - np.mean(theirs))
    for row in ("one", "two"):
        keep(results, study, row, "short", 0, tmp_path / f"{row}short")
    table = steps(gather(study, results))
    assert table is not None
    assert [row[2].text for row in table.rows] == [made or "short, 1 run"]


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_profile_changes(profile: Profile) -> None:
    study = small()
    epochs = {"full": None, "short": ("10", "100"), "smoke": ("1", "100")}[profile]
    found = changed(study, study.row("one"), profile)
    assert found == ({} if epochs is None else {"trainer.max_epochs": epochs})
    assert ("model.input_size" in changed(study, study.row("both"), profile)) == (profile == "short")


def test_the_expected_time_is_measured_where_it_can_be(
    results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small()
    keep(results, study, "one", "full", 0, tmp_path / "runs")
    running = StudyRun(study, "full", results, Place())
    todo = {row: tasks_of(study, study.row(row), "full") for row in ("one", "two")}
    todo["one"] = todo["one"][1:]
    running._announce(todo)
    # 1301.5 s that the other seed took, and twice the file's 90 min
    assert (
        "small, profile full: 3 runs, about 3 h 22 min (1 by what kept runs of their rows took, 2 by the estimates for "
        "two cores in the study's file)"
    ) in capsys.readouterr().out


def test_the_page_has_the_grid_and_both_distributions(results: Results, tmp_path: Path) -> None:
    study = small()
    keep(results, study, "one", "short", 0, tmp_path / "runs")
    made = page(gather(study, results))
    text = render(made)
    tree = parse_page(text)
    assert len(made.faces) == 3 * 9
    grids = list(tree.find("ul", class_="sets"))
    assert len(list(grids[0].find("use"))) == 3 * 9
    assert "Classes before and after balancing" in tree.text
    assert "Trust" in tree.text


def test_what_isn_t_measured_has_no_epochs(results: Results) -> None:
    row = cells(gather(small(), results), 0)
    assert {row[name] for name in ("ours", "epochs", "profile", "hardware")} == {numbers.MISSING}
    assert steps(gather(small(), results)) is None
    assert Outcome(small().row("one")).verdict == "not measured yet"
