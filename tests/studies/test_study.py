"""The studies' files, and what is refused in one."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from emotion import kept
from emotion.errors import ConfigError
from emotion.launch import compose
from emotion.studies import tasks
from emotion.studies.study import (
    PROFILES,
    SHORT_LIMIT_MIN,
    Minutes,
    Row,
    Study,
    experiments_dir,
    load,
    parse,
    study_names,
)
from emotion.studies.tasks import Results, tasks_of

FIVE = ("affectnet_hybrid", "expw_transfer", "fer2013_undersampling", "fer2013_vgg", "lfw_ms_balance")
STUDIES = [load(name) for name in FIVE]
TRAINED = [(study, row) for study in STUDIES for row in study.rows if row.trained]


def test_there_are_five() -> None:
    assert tuple(study_names()) == FIVE


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("study", "row"), TRAINED, ids=lambda part: part.name)
def test_every_row_composes(study: Study, row: Row, profile: Any) -> None:
    config = compose(tasks_of(study, row, profile)[-1].overrides)
    assert config.data.name == row.data
    if profile == "smoke":
        assert not config.model.pretrained
        assert config.model.weights is None


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_one_row_of_each_composes(study: Study) -> None:
    row = next(row for row in study.rows if row.trained)
    assert compose(tasks_of(study, row, "short")[0].overrides).name == row.name


KEPT = [
    (task, run)
    for study in STUDIES
    for row in study.rows
    for profile in PROFILES
    for task in tasks_of(study, row, profile)
    if (run := Results(folder := experiments_dir() / study.name / "results", folder).find(task)) is not None
]
TRAINED_RUNS = [(task, run) for task, run in KEPT if task.row.trained]
_ELSEWHERE = ("machine", "logger", "data.root", "model.pretrained", "model.weights", "model.init_from")
_NO_MATTER = ("trainer.compile",)  # auto since; it was false


def test_kept_runs_are_what_their_rows_ask_for_today() -> None:
    """A recipe is of a row's overrides alone: what a file of conf/ changes in them shows here."""
    assert len(TRAINED_RUNS) > 40
    composed: dict[tuple[str, ...], dict[str, Any]] = {}
    for task, run in TRAINED_RUNS:
        overrides = tuple(task.overrides)
        wanted = composed.setdefault(overrides, _leaves(compose(list(overrides)).plain()))
        found = {key: value for key, value in _leaves(run.config).items() if key in wanted}
        different = {
            key: (value, wanted[key])
            for key, value in found.items()
            if value != wanted[key] and not key.startswith(_ELSEWHERE) and key not in _NO_MATTER
        }
        assert not different, (run.path, different)


def test_kept_short_runs_took_no_longer_than_twenty_minutes_of_two_cores() -> None:
    for task, run in TRAINED_RUNS:
        if task.profile == "short":
            cores = min(2, run.environment["threads"])
            assert cores * run.status["seconds"]["total"] <= 2 * 60 * SHORT_LIMIT_MIN, run.path


@pytest.mark.parametrize("name", study_names())
def test_estimates_agree_where_the_profiles_do(name: str) -> None:
    study = load(name)
    for row in study.rows:
        if row.minutes and not tasks.changed(study, row, "short"):
            assert row.minutes.short == row.minutes.full, row.name


def test_every_folder_of_results_is_a_run_that_a_row_asks_for() -> None:
    """And no recipe is kept twice: the profile asked for would decide between two answers."""
    folders = {path.parent for path in experiments_dir().glob(f"*/results/*/*/{tasks.ROW_FILE}")}
    assert {run.path for _, run in KEPT} == folders
    recipes = [task.recipe for task in {run.path: task for task, run in KEPT}.values()]
    assert len(set(recipes)) == len(recipes)


def test_a_kept_run_says_what_it_is_of() -> None:
    for task, run in KEPT:
        found = Results.task_of(run)
        assert found is not None
        assert (found.study.name, found.row.name, found.seed, found.fold, found.recipe) == (
            task.study.name,
            task.row.name,
            task.seed,
            task.fold,
            task.recipe,
        )


def test_kept_runs_are_small_enough_for_git() -> None:
    for folder in experiments_dir().glob("*/results/*/*/"):
        assert kept.size_of(folder) <= 300 * 1024, folder


def test_the_code_that_made_a_number_can_be_looked_up() -> None:
    """Every commit that a kept result names is in this branch's history."""
    git = ("git", "-C", str(experiments_dir().parent), "rev-list", "HEAD")
    listed = subprocess.run(git, capture_output=True, text=True, check=False)
    history = set(listed.stdout.split())
    named = {
        path: set(re.findall(r'"commit": *"([0-9a-f]{40})"', path.read_text()))
        for path in experiments_dir().glob("*/results/**/*.json")
    }
    if not history & set().union(*named.values()):
        pytest.skip("this is a copy without the history")
    if (experiments_dir().parent / ".git" / "shallow").is_file():
        pytest.skip("this is a copy without the whole history")
    assert {path: commits - history for path, commits in named.items() if commits - history} == {}


def _leaves(plain: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found |= _leaves(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def test_study_b_s_recipes() -> None:
    """The settings that were checked against the report's code and the sizes of its files."""
    study = load("fer2013_vgg")
    config = {
        row: compose(tasks_of(study, study.row(row), "full")[0].overrides)
        for row in ("tuned", "pretrained", "finetuned")
    }
    rates = {row: (one.optimizer.lr, one.schedule.decay) for row, one in config.items()}
    assert rates == {"tuned": (1e-4, 1e-6), "pretrained": (1e-5, 1e-7), "finetuned": (1e-6, 1e-8)}
    assert {one.trainer.max_epochs for one in config.values()} == {100}
    assert {one.data.batch_size for one in config.values()} == {128}
    assert {(one.model.l2, one.model.max_norm) for one in config.values()} == {(1e-6, 4)}
    layers = dict(
        zip(
            ("block1_conv1", "block1_conv2", "block2_conv1", "block3_conv1", "block3_conv2"),
            (0, 4, 8, 16, 20),
            strict=True,
        )
    )
    tuned = config["tuned"].model
    assert tuned.max_norm_layers == [*(f"backbone.features.{at}" for at in layers.values()), "backbone.dense"]
    assert tuned.l2_layers == [*(f"backbone.features.{at}" for at in (16, 20, 24)), "backbone.dense", "head"]
    assert config["pretrained"].model.freeze == [f"backbone.features.{block}" for block in range(3)]


@pytest.mark.parametrize(
    ("study", "row", "accuracy", "n"),
    [
        ("fer2013_vgg", "scratch", 0.569, 3589),
        ("fer2013_vgg", "sobel_as_published", 0.2449, 3589),
        ("fer2013_undersampling", "vgg16_tuned", 0.5033, 306),
        ("lfw_ms_balance", "balanced_leaky", 0.78, 7950),
        ("expw_transfer", "mobilenetv2_test", 0.712, 16954),
        ("affectnet_hybrid", "hybrid_128_da", 0.634, 19542),
    ],
)
def test_published_numbers(study: str, row: str, accuracy: float, n: int) -> None:
    found = load(study).row(row).published
    assert (found.accuracy, found.n) == (accuracy, n)


@pytest.mark.parametrize("name", ["mobilenetv2_test", "efficientnet_b0_test"])
def test_published_confusions_sum_to_their_n_and_accuracy(name: str) -> None:
    """Two ways to the same number: the counts of the figure and the percentage of the text."""
    found = load("expw_transfer").row(name).published
    assert found.confusion is not None
    counts = dict(zip(found.confusion.rows, found.confusion.counts, strict=True))
    assert sum(map(sum, counts.values())) == found.n
    right = sum(counts[label][place] for place, label in enumerate(found.confusion.columns))
    assert found.n is not None
    assert right / found.n == pytest.approx(found.accuracy, abs=0.0005)


@pytest.mark.parametrize("study", ["fer2013_undersampling", "lfw_ms_balance"])
def test_published_recalls_and_supports_give_the_accuracy(study: str) -> None:
    checked = 0
    for row in load(study).rows:
        scores = row.published.classes.values()
        if scores and all(s.recall is not None and s.support is not None for s in scores):
            right = sum((s.recall or 0) * (s.support or 0) for s in scores)
            assert right / sum(s.support or 0 for s in scores) == pytest.approx(
                row.published.accuracy, abs=0.006
            )
            checked += 1
    assert checked > 1


SMALL: dict[str, Any] = {
    "name": "small",
    "title": "t",
    "report": "r",
    "about": "a",
    "cannot_support": ["much"],
    "profiles": {name: {"about": "a", "seeds": [0, 1]} for name in PROFILES},
    "rows": [
        {"name": "one", "title": "one", "data": "drawn", "overrides": [], "minutes": {"full": 1, "short": 1}},
        {
            "name": "two",
            "title": "two",
            "data": "drawn",
            "overrides": ["model=minivgg"],
            "init_from": "one",
            "folds": 2,
            "minutes": {"full": 1, "short": 1},
        },
        {"name": "both", "title": "both", "ensemble": ["one", "two"]},
    ],
}


LIKE = {"name": "like", "title": "like", "like": "one"}


def small(**changes: Any) -> Study:
    return parse(yaml.safe_dump({**SMALL, **changes}), "here")


def changed(row: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**found, **changes} if place == row else found for place, found in enumerate(SMALL["rows"])]


def test_stages_and_tasks() -> None:
    study = small()
    assert [[row.name for row in stage] for stage in study.ordered()] == [["one"], ["two"], ["both"]]
    assert [[row.name for row in stage] for stage in study.ordered(("two",))] == [["one"], ["two"]]
    two = tasks_of(study, study.row("two"), "full")
    assert [task.name for task in two] == ["two-s0-f0", "two-s0-f1", "two-s1-f0", "two-s1-f1"]
    assert two[2].source is not None
    assert two[2].source.name == "one-s1"
    assert two[0].overrides[-2:] == ["fold=0", "folds=2"]


def test_fewer_seeds_are_fewer_runs_of_one_profile() -> None:
    study = load("fer2013_vgg")
    fewer = study.with_seeds("full", [1])
    row = study.row("scratch")
    assert [task.name for task in tasks_of(fewer, row, "full")] == ["scratch-s1"]
    assert [task.name for task in tasks_of(fewer, row, "short")] == ["scratch-s0"]
    assert [task.recipe for task in tasks_of(fewer, row, "full")] == [
        task.recipe for task in tasks_of(study, row, "full") if task.seed == 1
    ]


def test_a_recipe_changes_with_what_was_asked_for() -> None:
    def recipe(study: Study) -> str:
        return tasks_of(study, study.row("two"), "full")[0].recipe

    base = recipe(small())
    assert recipe(small(title="another", rows=changed(1, title="another"))) == base
    assert recipe(small(overrides=["trainer.max_epochs=3"])) != base
    assert recipe(small(rows=changed(0, overrides=["optimizer.lr=0.1"]))) != base  # what it starts from


def test_a_recipe_is_of_what_is_asked_for_in_whatever_order() -> None:
    def recipe(own: list[str], everyone: list[str]) -> str:
        study = small(overrides=everyone, rows=changed(0, overrides=own))
        return tasks_of(study, study.row("one"), "full")[0].recipe

    asked = recipe(["model=minivgg", "trainer.max_epochs=2"], ["trainer.max_epochs=5"])
    assert recipe(["trainer.max_epochs=2", "model=minivgg"], []) == asked
    assert recipe(["model=minivgg"], ["trainer.max_epochs=2"]) == asked
    assert recipe(["model=minivgg"], ["trainer.max_epochs=5"]) != asked


def test_a_row_begins_as_another() -> None:
    base, two, both = changed(0, overrides=["model=minivgg", "loss=focal"], profiles={"smoke": ["folds=3"]})
    like = {"name": "like", "title": "like", "like": "one", "overrides": ["model=vgg16", "loss.gamma=1"]}
    again = {
        **like,
        "name": "again",
        "like": "like",
        "overrides": ["loss=ldam"],
        "minutes": {"full": 9, "short": 9},
    }
    study = small(rows=[base, two, both, like, again])
    found, third = study.row("like"), study.row("again")
    folded = small(rows=[base, two, both, {"name": "like", "title": "like", "like": "two"}]).row("like")
    assert (folded.folds, folded.init_from, folded.overrides) == (2, "one", ["model=minivgg"])
    assert found.overrides == ["model=vgg16", "loss=focal", "loss.gamma=1"]
    assert third.overrides == ["model=vgg16", "loss=ldam", "loss.gamma=1"]
    assert found.data == third.data == "drawn"
    assert found.profiles == third.profiles == {"smoke": ["folds=3"]}
    assert (found.minutes, third.minutes) == (study.row("one").minutes, Minutes(full=9, short=9))
    (task, _), written = (
        tasks_of(study, found, "full"),
        {**like, "overrides": found.overrides, "data": "drawn"},
    )
    del written["like"]
    by_hand = small(rows=[base, two, both, {**written, "minutes": base["minutes"]}])
    assert task.recipe == tasks_of(by_hand, by_hand.row("like"), "full")[0].recipe


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "list"}, "no study may be called list, run, table"),
        ({"rows": changed(0, init_from="two")}, "in a circle"),
        ({"rows": changed(1, init_from="three")}, "expected a row of this study, found 'three'"),
        ({"rows": changed(1, name="one")}, "each row once"),
        (
            {"rows": changed(0, like="two")},
            "one: expected like: to name a row above that has overrides, found 'two'",
        ),
        ({"rows": [*changed(0), {**LIKE, "like": "both"}]}, "a row above that has overrides, found 'both'"),
        (
            {"rows": [*changed(0), {**LIKE, "like": ["one"]}]},
            "a row above that has overrides, found \\['one'\\]",
        ),
        (
            {"rows": [*changed(0), {**LIKE, "overrides": "a=1"}]},
            "rows.3.overrides: Input should be a valid list",
        ),
        (
            {"rows": [*changed(0), {**LIKE, "overrides": [1]}]},
            "rows.3.overrides.0: Input should be a valid string",
        ),
        ({"rows": [*changed(0), {**LIKE, "name": ["a"]}]}, "rows.3.name: Input should be a valid string"),
        ({"rows": changed(2, like="one")}, "expected one of overrides"),
        ({"rows": ["one"]}, "rows.0: Input should be a valid dictionary"),
        ({"rows": changed(2, overrides=[])}, "expected one of overrides"),
        ({"rows": changed(0, published={"accuracy": 0.5})}, "expected n beside accuracy"),
        ({"rows": changed(0, minutes={"full": 1, "short": 21})}, "less than or equal to 20"),
        ({"rows": changed(0, overrides=["data.protocol=leaky"])}, "expected flaw: leaky"),
        ({"rows": changed(0, overrides=["data.protocol=leaky"], flaw="leaky")}, "flaw and honest together"),
        ({"rows": changed(0, colour="red")}, "Extra inputs"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        small(**changes)


def test_an_unknown_study_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"expected a study \(affectnet_hybrid, .*\), found 'fer'"):
        load("fer")
