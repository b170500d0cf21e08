"""The report of one run: right numbers, a sound page, and a note for everything that is missing."""

import base64
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn import metrics as sk

from emotion.errors import DataError, EmotionError
from emotion.evaluation import predictions
from emotion.kept import keep
from emotion.reporting.evidence import Evidence
from emotion.reporting.judged import threshold_table
from emotion.reporting.report import make_page, render, write_report, write_tables
from emotion.runs import RunFolder
from emotion.training.derived import write_ensemble
from tests.reporting import fakes
from tests.reporting.fakes import faces
from tests.reporting.page_tree import Node, cells, number, parse, table_with


def section(page: Node, name: str) -> Node:
    return page.one("section", id=name)


def test_headline_numbers_are_those_of_scikit_learn(page: Node, run: RunFolder) -> None:
    table = predictions.read(run.predictions("test"))
    truth, scores, guess = table.labels, table.probabilities, table.probabilities.argmax(axis=1)
    expected = {
        "Accuracy": sk.accuracy_score(truth, guess),
        "Balanced accuracy": sk.balanced_accuracy_score(truth, guess),
        "Macro F1": sk.f1_score(truth, guess, average="macro"),
        "Macro AUC": sk.roc_auc_score(truth, scores, multi_class="ovr"),
        "Log loss": sk.log_loss(truth, scores),
    }
    tiles = {
        tile.one("dt").text: tile.one("dd", class_="value").text for tile in page.find("div", class_="tile")
    }
    for name, value in expected.items():
        assert number(tiles[name]) == pytest.approx(value, abs=6e-4), name
    rows = {row[0]: row for row in cells(table_with(page, "Scores on each part"))}
    for column, value in enumerate(expected.values(), start=2):
        assert number(rows["test"][column]) == pytest.approx(value, abs=6e-4)
    validation = predictions.read(run.predictions("val"))
    right = sk.accuracy_score(validation.labels, validation.probabilities.argmax(axis=1))
    assert number(rows["validation"][2]) == pytest.approx(right, abs=6e-4)


def test_class_table_is_that_of_scikit_learn(page: Node, run: RunFolder) -> None:
    table = predictions.read(run.predictions("test"))
    guess = table.probabilities.argmax(axis=1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        table.labels, guess, labels=range(7), zero_division=0
    )
    rows = cells(table_with(page, "Each class of the test part"))
    assert [row[0] for row in rows] == list(fakes.FER2013)
    for index, row in enumerate(rows):
        assert number(row[1]) == support[index]
        assert number(row[3]) == pytest.approx(recall[index], abs=6e-4)
        assert number(row[4]) == pytest.approx(precision[index], abs=6e-4)
        assert number(row[5]) == pytest.approx(f1[index], abs=6e-4)
        area = sk.roc_auc_score(table.labels == index, table.probabilities[:, index])
        assert number(row[6]) == pytest.approx(area, abs=6e-4)


def test_trust_follows_from_bayes_theorem_and_the_shares_of_all_data(page: Node, run: RunFolder) -> None:
    table = predictions.read(run.predictions("test"))
    rates = sk.confusion_matrix(
        table.labels, table.probabilities.argmax(axis=1), labels=range(7), normalize="true"
    )
    parts = run.splits["counts"].values()
    natural = np.array([sum(part[name] for part in parts) for name in fakes.FER2013])
    expected = [rates[k, k] * natural[k] / (rates[:, k] @ natural) for k in range(7)]
    sheet = table_with(page, "Each class of the test part")
    column = [heading.text for heading in sheet.one("thead").find("th")].index("Trust")
    assert [number(row[column]) for row in cells(sheet)] == pytest.approx(expected, abs=6e-4)
    assert all(list(row.find("td"))[column - 1].one("small") for row in sheet.one("tbody").find("tr"))


def test_confusion_matrix_shows_counts_and_shares(page: Node, run: RunFolder) -> None:
    table = predictions.read(run.predictions("test"))
    expected = sk.confusion_matrix(table.labels, table.probabilities.argmax(axis=1), labels=range(7))
    matrix = page.one("div", class_="matrix")
    body = list(matrix.one("tbody").find("tr"))
    counts = [[number(cell.one("span", class_="count").text) for cell in row.find("td")] for row in body]
    np.testing.assert_array_equal(counts, expected)
    shares = [[number(cell.one("span", class_="share").text) for cell in row.find("td")] for row in body]
    np.testing.assert_allclose(shares, expected / expected.sum(axis=1, keepdims=True), atol=0.0051)
    assert {choice.attributes["value"] for choice in matrix.find("input", type="radio")} == {
        "counts",
        "shares",
    }
    assert len({choice.attributes["name"] for choice in matrix.find("input", type="radio")}) == 1


@pytest.mark.parametrize("fitted_here", [True, False])
def test_few_groups_are_starred_in_the_thresholds(fitted_here: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3

    def evidence(part: predictions.Part, groups: int) -> Evidence:
        meta = predictions.Meta("drawn", part, "run")
        persons = [f"person {row % groups}" for row in range(120)]
        scores = 0.5 * np.eye(3)[labels] + 0.5 * rng.dirichlet(np.ones(3), 120)
        ids = [f"{part} {row}" for row in range(120)]
        return Evidence(predictions.from_arrays(ids, labels, scores, "abc", meta, groups=persons))

    table = (
        threshold_table(evidence("val", 6))
        if fitted_here
        else threshold_table(evidence("test", 6), evidence("val", 40))
    )
    assert any(row[-1].note.endswith("*") for row in table.rows)
    assert any(
        note.startswith("* interval not reliable: the images come from 6 groups") for note in table.notes
    )


def test_right_answers_are_no_confusions(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    answers = np.where(np.arange(60) == 0, 1, labels)
    run = fakes.make_run(tmp_path, classes=("anger", "fear", "joy"), parts=("test",),
                         tables={"test": (labels, 0.7 * np.eye(3)[answers] + 0.1)})  # fmt: skip
    page = parse(render(make_page([run], faces)))
    assert [row[0] for row in cells(table_with(page, "The largest confusions"))] == ["anger → fear"]


def test_thresholds_are_fitted_on_validation_and_applied_to_test(page: Node, run: RunFolder) -> None:
    tables = {part: predictions.read(run.predictions(part)) for part in ("val", "test")}
    wrong = {part: table.predicted != table.labels for part, table in tables.items()}
    rows = {row[0]: row for row in cells(table_with(page, "How sure a network has to be"))}
    assert list(rows) == [f"{wanted} %{end}" for wanted in (1, 5, 10) for end in ("", ", promised")]
    thresholds = np.unique(tables["val"].confidence)
    shares = np.array([wrong["val"][tables["val"].confidence >= at].mean() for at in thresholds])
    found = 0
    for wanted in (0.01, 0.05, 0.1):
        row = rows[f"{100 * wanted:g} %"]
        kept = thresholds[shares <= wanted]
        if not len(kept):
            assert row[1] == row[3] == row[5] == "—"
            continue
        found += 1
        assert float(row[1]) == pytest.approx(kept.min(), abs=6e-5)
        for part, column in (("val", 2), ("test", 4)):
            given = tables[part].confidence >= kept.min()
            assert number(row[column]) == pytest.approx(given.mean(), abs=6e-4)
            assert number(row[column + 1].split(" (")[0]) == pytest.approx(
                wrong[part][given].mean(), abs=6e-4
            )
        promised = rows[f"{100 * wanted:g} %, promised"]
        assert promised[1] == "—" or float(promised[1]) >= float(row[1])
    assert found >= 2


def test_the_area_under_the_risk_coverage_curve_is_the_mean_over_all_shares(
    page: Node, run: RunFolder
) -> None:
    table = predictions.read(run.predictions("test"))
    wrong = (table.predicted != table.labels)[np.argsort(-table.confidence, kind="stable")]
    mean = float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())
    text = section(page, "confidence").text
    said = re.search(r"\(AURC\), the mean over all shares, is ([\d.]+)", text)
    assert said is not None
    assert float(said[1]) / 100 == pytest.approx(mean, abs=6e-4)


def test_leaks_are_told_with_the_score_without_them(page: Node, run: RunFolder) -> None:
    table = predictions.read(run.predictions("test"))
    kept = np.array([name not in run.splits["leaked_test_ids"] for name in table.ids])
    clean = float((table.predicted[kept] == table.labels[kept]).mean())
    note = next(
        note.text for note in section(page, "data").find("p", class_="note") if "40 of 400" in note.text
    )
    assert number(note.split("accuracy is")[1].replace("\u202f", "")) == pytest.approx(clean, abs=6e-4)
    rows = {row[0]: row for row in cells(table_with(page, "Scores on each part"))}
    assert number(rows["test, leaked images left out"][1]) == 360
    assert "faces of actors" in section(page, "data").text


def test_mistakes_are_shown_with_their_pictures(page: Node, run: RunFolder) -> None:
    table = predictions.read(run.predictions("test"))
    wrong = table.predicted != table.labels
    surest = np.flatnonzero(wrong)[table.confidence[wrong].argmax()]
    gallery = section(page, "mistakes").one("ul", class_="faces")
    first = gallery.one("figure")
    assert first.one("figcaption").text.startswith(
        f"{table.classes[table.labels[surest]]} → {table.classes[table.predicted[surest]]}"
    )
    name = (first.one("use").attributes["href"] or "").removeprefix("#")
    address = page.one("image", id=name).attributes["href"] or ""
    picture = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("L")
    expected = faces(run, [table.ids[surest]])[table.ids[surest]]
    assert np.abs(np.asarray(picture, float) - expected).mean() < 25  # lossy, but this face and no other
    assert f"{wrong.sum():,} of 400" in section(page, "mistakes").text


def test_sections_and_their_links(page: Node) -> None:
    links = [link.attributes["href"] for link in page.one("nav").find("a")]
    sections = [f"#{node.attributes['id']}" for node in page.find("section")]
    assert links == sections
    for name in ("scores", "learning", "confusion", "classes", "roc", "confidence", "mistakes", "data",
                 "augmentation", "cost", "reproduce", "tables"):  # fmt: skip
        assert f"#{name}" in sections


def test_command_configuration_and_environment_are_there(page: Node, run: RunFolder) -> None:
    text = section(page, "reproduce").text
    assert "python train.py data=fer2013 data.root=/data/fer2013 model=minivgg" in text
    assert "label_smoothing: 0.0" in text
    assert "4f2c9d1e7a5b" in text
    assert "4.12 M" in section(page, "cost").text
    assert "692 images/s" in section(page, "cost").text


def test_every_figure_of_the_tables_is_there_as_text(page: Node) -> None:
    listings = [node.text for node in section(page, "tables").find("pre")]
    assert len(listings) == 2
    markdown, latex = listings
    for row in cells(table_with(page, "Each class of the test part")):
        assert f"| {row[0]} |" in markdown
        assert row[3] in markdown
        assert row[3].replace(" %", "\\,\\%") in latex


HOSTILE = "</script><script>alert(1)</script>\"'&<b>表情 ümläut"


def test_hostile_and_foreign_names_are_text(tmp_path: Path) -> None:
    classes = ("anger", "<img src=x onerror=alert(1)>", "悲しみ", 'joy & "fun"\'s')
    made = fakes.make_run(
        tmp_path,
        count=60,
        classes=classes,
        config={"name": HOSTILE, "data.root": "/data/ä ö/(x)[y],{z}=1"},
        notes=[HOSTILE],
        tables={
            part: (np.arange(60) % 4, np.random.default_rng(0).dirichlet(np.ones(4), 60))
            for part in ("val", "test")
        },
    )
    text = render(make_page([made], lambda run, ids: {}, commands=[HOSTILE]))
    page = parse(text)
    assert page.one("h1").text == HOSTILE
    assert page.one("title").text == HOSTILE
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert [row[0] for row in cells(table_with(page, "Each class of the test part"))] == list(classes)
    assert HOSTILE in section(page, "data").text
    assert HOSTILE in section(page, "reproduce").text


class TestWhatIsMissing:
    """Every gap is a visible note, and the rest of the report is still made."""

    @pytest.fixture
    def broken(self, run: RunFolder, tmp_path: Path) -> RunFolder:
        shutil.copytree(run.path, tmp_path / run.name)
        return RunFolder(tmp_path / run.name)

    @staticmethod
    def notes(run: RunFolder, images: object = faces) -> tuple[str, Node]:
        page = parse(render(make_page([run], images)))  # type: ignore[arg-type]
        return " ".join(note.text for note in page.find("p", class_="note")), page

    def test_no_predictions(self, broken: RunFolder) -> None:
        shutil.rmtree(broken.path / "predictions")
        notes, page = self.notes(broken)
        assert "no predictions" in notes
        assert list(section(page, "learning").find("svg", class_="chart"))
        assert "python train.py" in section(page, "reproduce").text

    def test_no_test_part(self, broken: RunFolder) -> None:
        broken.predictions("test").unlink()
        notes, page = self.notes(broken)
        assert "no test predictions" in notes
        assert "too good" in notes
        assert "validation part" in table_with(page, "Each class of the").one("caption").text

    def test_cut_predictions(self, broken: RunFolder) -> None:
        path = broken.predictions("test")
        path.write_bytes(path.read_bytes()[:1000])
        notes, page = self.notes(broken)
        assert "test predictions can't be shown" in notes
        assert "test.parquet" in notes
        assert "validation" in section(page, "scores").text

    def test_nan_probabilities(self, broken: RunFolder) -> None:
        path = broken.predictions("test")
        metadata = pl.read_parquet_metadata(path)["emotion"]
        frame = pl.read_parquet(path).with_columns(pl.lit(float("nan"), pl.Float32).alias("p/fear"))
        frame.write_parquet(path, metadata={"emotion": metadata})
        notes, _ = self.notes(broken)
        assert "NaN" in notes

    def test_newer_format(self, broken: RunFolder) -> None:
        path = broken.predictions("test")
        metadata = json.loads(pl.read_parquet_metadata(path)["emotion"]) | {"format": 99, "version": "7.1"}
        pl.read_parquet(path).write_parquet(path, metadata={"emotion": json.dumps(metadata)})
        notes, _ = self.notes(broken)
        assert "99" in notes
        assert "7.1" in notes

    @pytest.mark.parametrize(
        "name",
        ["config.yaml", "splits.json", "environment.json", "metrics.json", "metrics.csv", "status.json"],
    )
    @pytest.mark.parametrize("damage", ["gone", "cut", "binary"])
    def test_any_file_gone_cut_or_overwritten(self, broken: RunFolder, name: str, damage: str) -> None:
        path = broken.file(name)
        if damage == "gone":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(path.read_bytes()[:30])
        else:
            path.write_bytes(b"\xff\xfe\x00\x81" * 9)
        notes, page = self.notes(broken)
        assert "Accuracy" in section(page, "scores").text
        assert list(section(page, "mistakes").find("use"))
        if (name, damage) != ("metrics.csv", "cut"):  # a cut table of one line is a whole one to anybody
            assert name in notes or "can't be shown" in notes or "can’t be read" in notes
        if damage == "gone" and name != "status.json":
            assert "not finished" not in notes

    @pytest.mark.parametrize(
        "text", ['{"method": "layer_cam", "sheets": [{"fi', "[]", '{"method": "layer_cam"}']
    )
    def test_sheets_that_are_cut(self, broken: RunFolder, text: str) -> None:
        path = broken.file("explanation/sheets.json")
        path.parent.mkdir()
        path.write_text(text)
        _, page = self.notes(broken)
        assert f"{path} is not whole" in section(page, "explanation").text

    def test_only_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "drawn-minivgg-fx-00000000").mkdir()
        notes, page = self.notes(RunFolder(tmp_path / "drawn-minivgg-fx-00000000"))
        assert "status.json" in notes
        assert page.one("h1").text == "minivgg on drawn"

    def test_running(self, broken: RunFolder) -> None:
        status = json.loads(broken.file("status.json").read_text()) | {
            "state": "running",
            "epoch": 3,
            "best": None,
        }
        broken.file("status.json").write_text(json.dumps(status))
        _, page = self.notes(broken)
        assert "running, epoch 3 of 24" in page.one("header").text

    def test_an_ensemble_misses_no_training(self, run: RunFolder, tmp_path: Path) -> None:
        other = fakes.make_run(tmp_path, count=400, seed=1)
        made = write_ensemble([run, other], tmp_path / "both", "emotion ensemble …")
        kept = RunFolder(keep(made, tmp_path / "kept", "emotion study …", None))
        for one in (made, kept):
            _, page = self.notes(one)
            assert not {"missing", "learning"} & {each.attributes.get("id") for each in page.find("section")}
        page = parse(render(make_page([run, made], faces)))
        assert not list(page.find("section", id="missing"))

    def test_unfinished(self, broken: RunFolder) -> None:
        status = json.loads(broken.file("status.json").read_text()) | {"state": "running", "epoch": 3}
        broken.file("status.json").write_text(json.dumps(status))
        broken.file("metrics.json").unlink()
        shutil.rmtree(broken.path / "predictions")
        _, page = self.notes(broken)
        assert "has not finished" in page.one("p", class_="finding").text
        assert not list(page.find("section", id="missing"))  # nothing is amiss

    def test_pictures_that_cannot_be_had(self, run: RunFolder) -> None:
        def gone(run: RunFolder, ids: Sequence[str]) -> Mapping[str, np.ndarray]:
            raise DataError("expected the data at /gone, found nothing.")

        def some(run: RunFolder, ids: Sequence[str]) -> Mapping[str, np.ndarray]:
            return faces(run, list(ids)[1:])

        assert "found nothing" in self.notes(run, gone)[0]
        assert "not at hand" in self.notes(run, None)[0]
        notes, page = self.notes(run, some)
        assert "1 of " in notes
        assert len(list(page.find("span", class_="none"))) >= 1

    def test_absent_class(self, tmp_path: Path) -> None:
        labels = np.arange(90) % 2
        scores = np.random.default_rng(0).dirichlet(np.ones(3), 90)
        made = fakes.make_run(tmp_path, classes=("anger", "fear", "disgust"), tables={"test": (labels, scores)},
                              parts=("test",))  # fmt: skip
        notes, page = self.notes(made)
        assert "no image of disgust" in notes
        row = cells(table_with(page, "Each class of"))[2]
        assert row[0] == "disgust"
        assert row[1] == "0"
        assert row[3] == row[5] == row[6] == "—"
        assert not re.search(r"\bnan\b", render(make_page([made])).lower().split("<script>")[0])
        assert len(list(section(page, "roc").find("svg", class_="chart"))) == 2

    @pytest.mark.parametrize("right", [True, False])
    def test_one_image(self, tmp_path: Path, right: bool) -> None:
        scores = np.array([[0.7, 0.2, 0.1]])
        made = fakes.make_run(tmp_path, classes=("anger", "fear", "joy"), parts=("test",),
                              tables={"test": (np.array([0 if right else 1]), scores)})  # fmt: skip
        notes, page = self.notes(made)
        tile = next(page.find("div", class_="tile"))
        assert tile.one("dd", class_="value").text.startswith("100" if right else "0.0")
        assert "at least two" in notes
        assert ("There are none" in section(page, "mistakes").text) == right

    def test_perfect_network(self, tmp_path: Path) -> None:
        labels = np.arange(60) % 3
        made = fakes.make_run(tmp_path, classes=("anger", "fear", "joy"), parts=("val", "test"),
                              tables=dict.fromkeys(("val", "test"), (labels, np.eye(3)[labels])))  # fmt: skip
        _, page = self.notes(made)
        assert "There are none" in section(page, "mistakes").text
        assert "100.0" in next(page.find("div", class_="tile")).text

    def test_few_images_of_a_class_are_starred(self, tmp_path: Path) -> None:
        labels = np.array([0] * 60 + [1] * 60 + [2] * 4)
        scores = 0.5 * np.eye(3)[labels] + 0.5 * np.random.default_rng(0).dirichlet(np.ones(3), 124)
        made = fakes.make_run(tmp_path, classes=("anger", "fear", "joy"), parts=("test",),
                              tables={"test": (labels, scores)})  # fmt: skip
        notes, page = self.notes(made)
        assert "joy has 4 images" in notes
        assert any("*" in small.text for small in table_with(page, "Each class of").find("small"))

    def test_few_images_of_another_part_are_told_too(self, tmp_path: Path) -> None:
        tables = {}
        for part, joys in (("val", 4), ("test", 60)):
            labels = np.array([0] * 60 + [1] * 60 + [2] * joys)
            noise = np.random.default_rng(0).dirichlet(np.ones(3), len(labels))
            tables[part] = labels, 0.5 * np.eye(3)[labels] + 0.5 * noise
        made = fakes.make_run(
            tmp_path, classes=("anger", "fear", "joy"), parts=("val", "test"), tables=tables
        )
        _, page = self.notes(made)
        assert any("*" in small.text for small in table_with(page, "Scores on each part").find("small"))
        assert "* interval not reliable: joy has 4 images" in page.text


def test_no_runs_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least one run"):
        write_report([], tmp_path / "report.html")


def test_a_place_that_cannot_be_written_is_a_clear_error(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmotionError, match=r"expected to write the report .*report\.html, found"):
        write_report([run], tmp_path / "file" / "report.html")
    with pytest.raises(EmotionError, match=r"expected to write the tables"):
        write_tables([run], tmp_path / "file" / "tables.md")
    with pytest.raises(EmotionError, match=r"ends in \.md or \.tex, found 'tables\.doc'"):
        write_tables([run], tmp_path / "tables.doc")


def test_files_are_written(run: RunFolder, tmp_path: Path) -> None:
    path = write_report([run], tmp_path / "new" / "report.html", faces)
    assert parse(path.read_text(encoding="utf-8")).one("h1").text == "minivgg on fer2013"
    assert "| anger |" in write_tables([run], tmp_path / "t.md").read_text()
    assert "\\toprule" in write_tables([run], tmp_path / "t.tex").read_text()
