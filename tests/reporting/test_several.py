"""The report of several runs: ranking, tests, differences, folds; validation decides, test only on request."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from sklearn import metrics as sk

from emotion.evaluation import predictions
from emotion.evaluation.comparison import compare
from emotion.evaluation.folds import pool
from emotion.launch import compose
from emotion.reporting.contenders import contenders, differing
from emotion.reporting.evidence import Subject
from emotion.reporting.report import make_page, render
from emotion.runs import RunFolder, TableName
from tests.reporting import fakes
from tests.reporting.page_tree import Node, cells, number, parse, table_with


def rendered(runs: list[RunFolder], **options: bool) -> Node:
    return parse(render(make_page(runs, fakes.faces, **options)))


def notes_of(page: Node) -> str:
    return " ".join(note.text for note in page.find("p", class_="note"))


def ranking(page: Node) -> dict[str, dict[str, str]]:
    """Configuration → heading → what the ranked table says."""
    table = table_with(page, "Scores on validation images")
    headings = [heading.text for heading in table.one("thead").find("th")]
    return {row[0]: dict(zip(headings, row, strict=True)) for row in cells(table)}


def pooled(sweep: list[RunFolder], model: str) -> predictions.Predictions:
    runs = [run for run in sweep if model in run.name]
    return pool([predictions.read(run.predictions("val")) for run in runs], run=model)


def accuracy(run: RunFolder, part: str = "val") -> float:
    table = predictions.read(run.predictions(part))  # type: ignore[arg-type]
    return float(sk.accuracy_score(table.labels, table.probabilities.argmax(axis=1)))


def test_ranking_is_computed_from_the_pooled_folds(sweep: list[RunFolder], sweep_page: Node) -> None:
    rows = ranking(sweep_page)
    assert list(rows) == ["resnet18", "minivgg"]
    for name, row in rows.items():
        table = pooled(sweep, name)
        guess = table.probabilities.argmax(axis=1)
        assert row["Folds"] == "4"
        assert number(row["Images"]) == 600
        for heading, expected in (
            ("Accuracy", sk.accuracy_score(table.labels, guess)),
            ("Balanced accuracy", sk.balanced_accuracy_score(table.labels, guess)),
            ("Macro F1", sk.f1_score(table.labels, guess, average="macro")),
        ):
            assert number(row[heading]) == pytest.approx(expected, abs=6e-4), heading


def test_letters_and_sentence_are_those_of_the_paired_tests(sweep: list[RunFolder], sweep_page: Node) -> None:
    found = compare([pooled(sweep, name) for name in ("resnet18", "minivgg")], names=["resnet18", "minivgg"])
    letters = {name: row["Group"] for name, row in ranking(sweep_page).items()}
    assert letters == dict(found.ranking.select("run", "letters").iter_rows())
    assert sweep_page.one("p", class_="finding").text == found.sentence  # with the same interval, too
    pair = cells(table_with(sweep_page, "Pairs on the same images"))[0]
    assert pair[0] == "resnet18 − minivgg"
    assert number(pair[1]) == pytest.approx(100 * found.pairs["difference"][0], abs=0.051)


def test_fold_table(sweep: list[RunFolder], sweep_page: Node) -> None:
    row = next(
        row
        for row in cells(table_with(sweep_page, "Validation accuracy of each fold"))
        if row[0] == "minivgg"
    )
    values = [accuracy(run) for run in sweep if "minivgg" in run.name]
    assert [number(text) for text in row[1:5]] == pytest.approx(values, abs=6e-4)
    assert number(row[5]) == pytest.approx(np.mean(values), abs=6e-4)
    assert number(row[6]) == pytest.approx(np.std(values, ddof=1), abs=6e-4)


def test_difference_of_two_confusion_matrices(sweep: list[RunFolder], sweep_page: Node) -> None:
    block = sweep_page.one("div", class_="difference")
    data = json.loads("".join(map(str, block.one("script").children)))
    shares = []
    for item in data:
        table = pooled(sweep, item["name"])
        expected = sk.confusion_matrix(table.labels, table.probabilities.argmax(axis=1), labels=range(7))
        np.testing.assert_array_equal(item["counts"], expected)
        shares.append(expected / expected.sum(axis=1, keepdims=True))
    shown = [[number(cell.text) for cell in row.find("td")] for row in block.one("tbody").find("tr")]
    np.testing.assert_allclose(shown, 100 * (shares[0] - shares[1]), atol=0.051)
    for select in block.find("select"):
        assert [option.text for option in select.find("option")] == ["resnet18", "minivgg"]


def test_settings_list_exactly_what_differs(sweep_page: Node) -> None:
    table = table_with(sweep_page, "Settings that are not the same")
    headings = [heading.text for heading in table.one("thead").find("th")]
    assert headings == ["Configuration", "model.name", "optimizer.lr"]
    assert cells(table) == [["resnet18", "resnet18", "0.003"], ["minivgg", "minivgg", "0.001"]]


def test_hard_images_are_those_that_all_get_wrong(sweep: list[RunFolder], sweep_page: Node) -> None:
    wrong = [
        table.predicted != table.labels for table in (pooled(sweep, "resnet18"), pooled(sweep, "minivgg"))
    ]
    both = int((wrong[0] & wrong[1]).sum())
    assert f"same {both:,} of 600 images" in sweep_page.one("section", id="hard").text


def test_test_scores_only_on_request(sweep: list[RunFolder], sweep_html: str) -> None:
    assert "Test accuracy" not in sweep_html
    page = rendered(sweep, test=True)
    row = ranking(page)["minivgg"]
    values = [accuracy(run, "test") for run in sweep if "minivgg" in run.name]
    assert number(row["Test accuracy"]) == pytest.approx(np.mean(values), abs=6e-4)
    folds = next(row for row in cells(table_with(page, "Test accuracy of each fold")) if row[0] == "minivgg")
    assert [number(text) for text in folds[1:5]] == pytest.approx(values, abs=6e-4)


def test_ranked_by_validation_even_when_test_disagrees(tmp_path: Path) -> None:
    labels = np.arange(60) % 3

    def table(right: int) -> tuple[np.ndarray, np.ndarray]:
        answers = np.where(np.arange(60) < right, labels, (labels + 1) % 3)
        return labels, 0.8 * np.eye(3)[answers] + 0.2 / 3

    one = fakes.make_run(tmp_path, classes=("a", "b", "c"), tables={"val": table(50), "test": table(20)},
                         config={"model.name": "one"})  # fmt: skip
    two = fakes.make_run(tmp_path, classes=("a", "b", "c"), tables={"val": table(40), "test": table(59)},
                         config={"model.name": "two"})  # fmt: skip
    assert list(ranking(rendered([two, one], test=True))) == ["one", "two"]


def test_leaked_test_images_tell_no_test_score(tmp_path: Path) -> None:
    runs = [fakes.make_run(tmp_path, count=80, leaks=9, config={"model.name": name}) for name in ("a", "b")]
    notes = notes_of(rendered(runs))
    assert "9 of 80 test images (11.2 %) share their pixels" in notes
    assert "Without them accuracy is" not in notes


def test_missing_folds_are_named_and_other_images_not_compared(sweep: list[RunFolder]) -> None:
    page = rendered([run for run in sweep if "resnet18-f3" not in run.name])
    assert "resnet18 (3 of 4)" in notes_of(page)
    assert "judged by other images, labels or classes: minivgg" in notes_of(page)
    assert not list(page.find("section", id="differences"))


def test_a_fold_without_predictions_is_missing(sweep: list[RunFolder], tmp_path: Path) -> None:
    runs = [RunFolder(Path(shutil.copytree(run.path, tmp_path / run.name))) for run in sweep]
    failed = next(run for run in runs if "resnet18-f3" in run.name)
    shutil.rmtree(failed.path / "predictions")
    page = rendered(runs)
    assert "resnet18 (3 of 4)" in notes_of(page)
    assert ranking(page)["resnet18"]["Folds"] == "3"


def test_other_label_sets_stay_in_the_table(sweep: list[RunFolder], tmp_path: Path) -> None:
    other = fakes.make_run(
        tmp_path, count=90, classes=(*fakes.FER2013, "contempt"), config={"model.name": "eight"}
    )
    page = rendered([*sweep, other])
    assert "eight" in notes_of(page)
    assert set(ranking(page)) == {"eight", "resnet18", "minivgg"}
    recall = {row[0]: row for row in cells(table_with(page, "Recall of each class"))}
    assert recall["minivgg"][-1] == "—"
    assert recall["eight"][-1] != "—"


def test_broken_runs_are_named_and_the_rest_is_compared(sweep: list[RunFolder], tmp_path: Path) -> None:
    for name in ("gone", "cut", "bare"):
        source = next(run for run in sweep if "resnet18-f0" in run.name)
        shutil.copytree(source.path, tmp_path / name)
        config = yaml.safe_load((tmp_path / name / "config.yaml").read_text())
        config["model"]["name"], config["fold"] = name, None
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.rmtree(tmp_path / "gone" / "predictions")
    cut = tmp_path / "cut" / "predictions" / "val.parquet"
    cut.write_bytes(cut.read_bytes()[:500])
    shutil.rmtree(tmp_path / "bare")
    (tmp_path / "bare").mkdir()
    page = rendered([*sweep, *(RunFolder(tmp_path / name) for name in ("gone", "cut", "bare"))])
    rows = ranking(page)
    assert list(rows)[:2] == ["resnet18", "minivgg"]
    for name in ("gone", "cut", "bare"):
        assert rows[name]["Accuracy"] == "—"
        assert f"{name}: " in notes_of(page)
    assert "val.parquet" in notes_of(page)
    assert "better than minivgg" in page.one("p", class_="finding").text


def test_stars_of_the_ranking_are_explained(tmp_path: Path) -> None:
    labels = np.array([0] * 40 + [1] * 40 + [2] * 4)
    runs = []
    for seed in range(2):
        scores = 0.4 * np.eye(3)[labels] + 0.6 * np.random.default_rng(seed).dirichlet(np.ones(3), 84)
        runs.append(fakes.make_run(tmp_path, classes=("a", "b", "c"), parts=("val",), seed=seed,
                                   tables={"val": (labels, scores)}))  # fmt: skip
    sheet = next(rendered(runs).one("section", id="ranking").find("div", class_="sheet"))
    assert any(small.text.endswith("*") for small in sheet.find("small"))
    assert "* interval not reliable: c has 4 images (under 10)" in sheet.text


def in_groups(run: RunFolder, part: TableName, groups: int) -> RunFolder:
    """The same run with its images of so many persons."""
    table = predictions.read(run.predictions(part))
    persons = pl.Series("group", [f"person {row % groups}" for row in range(len(table))])
    frame = table.frame.with_columns(persons)
    predictions.write(run.predictions(part), predictions.Predictions(frame, table.classes, table.meta))
    return run


def sheet_with(page: Node, title: str) -> Node:
    return next(sheet for sheet in page.find("div", class_="sheet") if title in sheet.one("caption").text)


def test_few_groups_are_starred_in_recalls_and_test_accuracy(tmp_path: Path) -> None:
    runs = [
        fakes.make_run(tmp_path, count=90, config={"model.name": name}, hash8=f"{name}0000000")
        for name in "ab"
    ]
    legend = "* interval not reliable: the images come from {} groups (under 10)"
    few = rendered([in_groups(run, "val", 6) for run in runs])
    recalls = sheet_with(few, "Recall of each class")
    assert {small.text[-1] for small in recalls.one("tbody").find("small")} == {"*"}
    assert legend.format(6) in recalls.text
    both = rendered([in_groups(in_groups(run, "val", 30), "test", 4) for run in runs], test=True)
    table = sheet_with(both, "Scores on validation images")
    for row in table.one("tbody").find("tr"):
        assert list(row.find("td"))[-1].one("small").text.endswith("*")
    assert legend.format(4) in table.text


def test_no_run_has_predictions(tmp_path: Path) -> None:
    runs = [fakes.make_run(tmp_path, parts=(), config={"model.name": name}) for name in ("a", "b")]
    page = rendered(runs)
    assert "None of these runs" in page.one("p", class_="finding").text
    assert list(page.find("section", id="learning"))


def test_a_key_younger_than_a_fold_makes_no_other_configuration(tmp_path: Path) -> None:
    """But other data do, under whatever folder."""
    config = compose(["data=fer2013", "data.root=/a", "model=resnet18"]).plain()
    older = json.loads(json.dumps(config))
    del older["trainer"]["cutmix"]
    older["data"]["root"] = "/moved"
    runs = []
    for fold, one in enumerate((config, older)):
        run = fakes.make_run(tmp_path, seed=fold)
        run.file("config.yaml").write_text(yaml.safe_dump(one | {"fold": fold}))
        runs.append(run)
    assert len(contenders([Subject(RunFolder(run.path)) for run in runs])) == 1
    facts = json.loads(runs[1].file("splits.json").read_text())
    facts["data"]["fingerprint"] = "other"
    runs[1].file("splits.json").write_text(json.dumps(facts))
    assert len(contenders([Subject(RunFolder(run.path)) for run in runs])) == 2


def test_one_configuration_in_folds(sweep: list[RunFolder]) -> None:
    page = rendered([run for run in sweep if "minivgg" in run.name])
    assert page.one("h1").text == "minivgg on fer2013, 4 folds"
    assert "600 validation images" in page.one("p", class_="finding").text


class TestContenders:
    def test_folds_belong_together(self, sweep: list[RunFolder]) -> None:
        found = contenders([Subject(run) for run in sweep])
        assert [[subject.fold for subject in contender.subjects] for contender in found] == [[0, 1, 2, 3]] * 2

    def test_a_fold_twice_is_another_contender(self, sweep: list[RunFolder], tmp_path: Path) -> None:
        shutil.copytree(sweep[0].path, tmp_path / "again")
        found = contenders([Subject(run) for run in [*sweep[:4], RunFolder(tmp_path / "again")]])
        assert [len(contender.subjects) for contender in found] == [4, 1]
        assert len({contender.name for contender in found}) == 2

    @pytest.mark.parametrize(
        ("key", "one", "other"),
        [
            ("weights", "/{0}/vgg.pt", "/{0}/resnet.pt"),
            ("init_from", "/{0}/expw-resnet18-f{0}-{0:08x}", "/{0}/expw_leaky-resnet18-f{0}-{0:08x}"),
            ("init_from", "/{0}/expw-resnet18-fx-0000000a", "/{0}/expw-resnet18-fx-0000000b"),
        ],
    )
    def test_a_fold_of_other_weights_fills_no_gap(
        self, key: str, one: str, other: str, tmp_path: Path
    ) -> None:
        """Of the same weights they belong together, wherever those lie."""
        config = compose(["data=fer2013", "data.root=/a", "model=resnet18"]).plain()
        subjects = []
        for path, folds in ((one, (0, 1, 2)), (other, (0, 1, 2, 3))):
            for fold in folds:
                run = fakes.make_run(tmp_path, count=20, fold=fold, seed=len(subjects))
                model = config["model"] | {key: path.format(fold)}
                run.file("config.yaml").write_text(yaml.safe_dump(config | {"fold": fold, "model": model}))
                subjects.append(Subject(run))
        assert [contender.subjects for contender in contenders(subjects)] == [subjects[:3], subjects[3:]]

    @pytest.mark.parametrize(
        ("configs", "names"),
        [
            ([{"model.name": "a"}, {"model.name": "b"}], ["a", "b"]),
            (
                [{"loss.name": "focal"}, {"sampling.name": "balanced"}],
                ["natural · focal", "balanced · cross_entropy"],
            ),
            ([{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}], ["optimizer.lr=0.1", "optimizer.lr=0.2"]),
            ([{"name": "mine"}, {"optimizer.lr": 0.2}], ["mine", "optimizer.lr=0.2"]),
            ([{"machine.workers": 4, "seed": 1}, {"machine.workers": 0, "seed": 2}], ["seed=1", "seed=2"]),
        ],
    )
    def test_names_say_what_differs(
        self, configs: list[dict[str, object]], names: list[str], tmp_path: Path
    ) -> None:
        runs = [fakes.make_run(tmp_path, count=20, config=config) for config in configs]
        found = contenders([Subject(run) for run in runs])
        assert sorted(contender.name for contender in found) == sorted(names)

    def test_folds_of_two_and_of_four_are_two_configurations(self, tmp_path: Path) -> None:
        runs = [
            fakes.make_run(tmp_path, count=20, fold=fold, seed=folds, config={"folds": folds, "seed": 0})
            for folds in (2, 4)
            for fold in range(folds)
        ]
        found = contenders([Subject(run) for run in runs])
        assert sorted((contender.name, len(contender.subjects)) for contender in found) == [
            ("folds=2", 2),
            ("folds=4", 4),
        ]

    def test_folders_of_one_name_have_their_parents_before_it(self, tmp_path: Path) -> None:
        runs = []
        for profile in ("short", "full"):
            run = fakes.make_run(tmp_path / profile, count=20, config={"name": "scratch", "seed": len(runs)})
            runs.append(RunFolder(run.path.rename(run.path.with_name("scratch-s0"))))
        names = {contender.name for contender in contenders([Subject(run) for run in runs])}
        assert {name.split("/")[-1] for name in names} == {"scratch-s0"}
        assert len(names) == 2

    def test_machine_and_folds_make_no_difference(self, tmp_path: Path) -> None:
        runs = [
            fakes.make_run(
                tmp_path,
                count=20,
                fold=fold,
                config={"machine.workers": fold, "data.root": f"/{fold}", "trainer.compile": compiled},
            )
            for fold, compiled in enumerate((False, "auto"))
        ]
        found = contenders([Subject(run) for run in runs])
        assert len(found) == 1
        assert differing(found) == []


def test_thirty_runs_are_light(tmp_path: Path) -> None:
    runs = [
        fakes.make_run(tmp_path, count=120, skill=1 + seed / 60, seed=seed, config={"seed": seed}, epochs=100)
        for seed in range(30)
    ]
    html = render(make_page(runs, fakes.faces))
    assert len(html.encode()) < 15e6
    page = parse(html)
    assert len(cells(table_with(page, "Scores on validation images"))) == 30
    used = [node.attributes["href"] for node in page.find("use")]
    assert len(list(page.find("image"))) == len(set(used)) < len(used)
