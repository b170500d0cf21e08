"""`emotion data …` on small sets, from what is typed to what is printed and written."""

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from emotion.cli import app
from emotion.commands.inspection import described
from emotion.data import mimic
from emotion.data.layout import find_below
from emotion.data.recognise import data_sets, needs_root, recognise
from emotion.errors import ConfigError, DataError
from emotion.evaluation import label_errors, predictions
from emotion.runs import RunFolder
from emotion.schema.data import Fer2013Data, LfwMsData
from tests.data.conftest import fer_folders  # noqa: F401  a fixture

DRAWN = ("data=drawn", "data.count=140", "data.imbalance=0")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOTION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def call(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["data", *(str(a) for a in arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    root = tmp_path / "lfw ms"
    (root / "data").mkdir(parents=True)
    (root / "images").mkdir()
    lines = ["user.id,image,emotion"]
    for number in range(8):
        name = f"Ann_Lee_{number:04d}.jpg"
        noise = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "images" / name)
        lines.append(f"1,{name},{'Happiness' if number % 2 else 'neutral'}")
    (root / "data" / "legend.csv").write_text("\n".join(lines))
    return root


def test_a_folder_is_recognised_by_its_layout(fer_folders: Path, lfw: Path) -> None:  # noqa: F811
    assert recognise(fer_folders) == "fer2013"
    assert recognise(lfw) == "lfw_ms"
    assert not needs_root("drawn")


def test_a_download_that_holds_another_is_the_larger_one(tmp_path: Path) -> None:
    call("draw", tmp_path / "both", "--as", "ferplus")
    assert recognise(tmp_path / "both") == "ferplus"


@pytest.mark.parametrize("form", mimic.FORMS)
def test_every_layout_is_recognised_and_no_other_in_it(form: str, tmp_path: Path) -> None:
    call("draw", tmp_path / "drawn", "--as", form)
    assert recognise(tmp_path / "drawn") == mimic.DATA.get(form, form)


@pytest.mark.parametrize("names", [("happy", "sad"), ("cats", "dogs"), ("happy", "bored", "sad")])
def test_class_folders_of_anyone_are_not_fer2013(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / name / "1.png")
    assert recognise(tmp_path) == "folder"


def test_what_is_no_data_set_is_answered_by_every_layout(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(
        DataError, match=r"(?s)no data set was recognised.*\n  fer2013: .*\n  lfw_ms: .*\n  csv: "
    ):
        recognise(tmp_path / "photos")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("fer.zip", b"PK", "holds fer.zip. Unpack fer.zip first."),
        ("notes.csv", b"day,weather", "no data set was recognised"),
        ("train.csv", b"path,text", "no data set was recognised"),
    ],
)
def test_what_is_nearly_a_data_set(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        recognise(tmp_path)
    with pytest.raises(DataError, match="recognised in the file"):
        recognise(tmp_path / name)


def test_a_known_layout_with_a_fault_is_answered_by_its_reader_alone(tmp_path: Path) -> None:
    call("draw", tmp_path / "one", "--as", "affectnet")
    call("draw", tmp_path / "other", "--as", "affectnet_2021")
    shutil.copytree(tmp_path / "other", tmp_path / "one", dirs_exist_ok=True)
    with pytest.raises(DataError, match="^expected one release of AffectNet .*2017 and 2021 mixed") as caught:
        recognise(tmp_path / "one")
    assert "\n" not in str(caught.value)


def test_a_root_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="^expected data.root, .*gone does not exist") as caught:
        recognise(tmp_path / "gone")
    assert "\n" not in str(caught.value)


def test_a_folder_that_may_not_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python does without the right to search a folder: `is_file` raises."""

    def refuse(path: Path, **_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match="can't be read: Permission denied") as caught:
        find_below(tmp_path, lambda folder: (folder / "list.csv").is_file())
    assert str(tmp_path) in str(caught.value)


def test_two_fitting_layouts_are_left_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "emotion.data.recognise._refusal", lambda name, root: None if root else DataError(name)
    )
    monkeypatch.setattr(
        "emotion.data.recognise.data_sets", lambda: {"fer2013": Fer2013Data, "lfw_ms": LfwMsData}
    )
    with pytest.raises(DataError, match="layouts of fer2013, lfw_ms. Add data=NAME"):
        recognise(tmp_path)


def test_check_counts_and_says_whether_it_is_complete(fer_folders: Path) -> None:  # noqa: F811
    (fer_folders / "train" / "angry" / "Training_broken.txt").write_text("no image")
    said = call("check", fer_folders)
    assert "fer2013: 56 rows can be used, 1 can't." in said
    call("check", fer_folders, "--out", fer_folders.parent / "left out.csv")
    listed = pl.read_csv(fer_folders.parent / "left out.csv")
    assert listed["id"].to_list() == ["train/angry/Training_broken.txt"]
    assert listed["reason"].to_list() == ["not an image file"]
    assert "1 not an image file; the first: train/angry/Training_broken.txt" in said
    assert "incomplete: found 28 / 14 / 14 images" in said
    assert "Not prepared yet" in said
    assert "fingerprint" in call("prepare", fer_folders)
    assert "Prepared and unchanged: 56 images, 0 could not be decoded" in call("check", fer_folders)


def test_check_notices_a_changed_store(fer_folders: Path, cache: Path) -> None:  # noqa: F811
    call("prepare", fer_folders)
    images = next(cache.glob("*/images.bin"))
    data = bytearray(images.read_bytes())
    data[1000] ^= 1
    images.write_bytes(data)
    with pytest.raises(DataError, match="has been changed since it was written"):
        call("check", fer_folders)


def test_list_names_sets_and_stores(lfw: Path) -> None:
    assert "Prepared in" not in call("list")
    call("prepare", lfw)
    said = call("list")
    assert "LFW-MS" in said
    assert "lfw_ms-96px-" in said


def test_show_has_a_row_a_class(tmp_path: Path) -> None:
    call("show", *DRAWN, "--out", tmp_path / "sheet.png", "--count", 3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 7 * 96
        assert sheet.width > 3 * 96


def test_stats_are_those_of_the_table(tmp_path: Path, lfw: Path) -> None:
    said = call("stats", lfw, "--out", tmp_path / "stats.png")
    assert "1 groups of 8 to 8 images" in said
    assert "20 × 20 px in the middle" in said
    assert [line.split() for line in said.splitlines() if line.startswith("happiness")] == [
        ["happiness", "4"]
    ]
    assert (tmp_path / "stats.png").stat().st_size > 10_000


def test_stats_of_face_boxes_and_extra_images_that_have_none(tmp_path: Path) -> None:
    """Every row is sampled: fewer boxes than rows, and the last rows have none."""
    table = ["file,expression,x,y,w,h"]
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        table.append(f"{number}.png,{('happiness', 'anger')[number % 2]},4,4,30,40")
    (tmp_path / "faces.csv").write_text("\n".join(table))
    (tmp_path / "made" / "anger").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (20 + number, 20)).save(tmp_path / "made" / "anger" / f"{number}.png")
    keys = ("data=csv", "data.path=file", "data.label=expression", "data.box=[x,y,w,h]")
    said = call("stats", tmp_path, *keys, f"data.extra={tmp_path / 'made'}", "--out", tmp_path / "s.png")
    assert "30 × 40 px in the middle, 20 × 20 to 30 × 40 (of 11)" in said


@pytest.mark.parametrize("command", ["check", "prepare", "show", "stats", "audit"])
def test_the_keys_that_the_help_shows_can_be_typed(command: str) -> None:
    (shown,) = re.findall(r"data=\w+ data\.\w+=\w+", " ".join(call(command, "--help").split()))
    described(shown.split())


def test_audit_writes_a_page_and_a_csv_that_training_takes(fer_folders: Path, tmp_path: Path) -> None:  # noqa: F811
    train, test = fer_folders / "train" / "happy", fer_folders / "test" / "happy"
    twin = next(test.glob("PrivateTest_*"))
    (train / "Training_99.jpg").write_bytes(twin.read_bytes())
    said = call("audit", fer_folders, "--out", tmp_path)
    assert [line.split()[-1] for line in said.splitlines() if "groups that cross parts" in line] == ["1"]
    table = pl.read_csv(tmp_path / "audit.csv")
    assert table.filter("exclude")["id"].unique().to_list() == ["train/happy/Training_99.jpg"]
    assert "Audit of fer2013" in (tmp_path / "audit.html").read_text()
    after = call("audit", fer_folders, f"data.exclude={tmp_path / 'audit.csv'}", "--out", tmp_path / "after")
    assert [line.split()[-1] for line in after.splitlines() if "groups that cross parts" in line] == ["0"]


def test_what_is_printed_to_be_copied_is_quoted(fer_folders: Path, tmp_path: Path) -> None:  # noqa: F811
    said = call("draw", tmp_path / "a folder", "--as", "ck48").splitlines()[-1]
    assert shlex.split(said) == ["python", "train.py", "data=ck_plus", f"data.root={tmp_path}/a folder"]
    happy = fer_folders / "train" / "happy"
    shutil.copy(next((fer_folders / "test" / "happy").iterdir()), happy / "Training_99.jpg")
    said = call("audit", fer_folders, "--out", tmp_path / "an audit")
    (line,) = [line for line in said.splitlines() if "leaves out" in line]
    assert shlex.split(line.partition(": ")[2])[0] == f"data.exclude={tmp_path}/an audit/audit.csv"


def test_audit_with_a_run_that_contradicts_no_label(finished_run: RunFolder, tmp_path: Path) -> None:
    table = predictions.read(finished_run.predictions("val"))
    certain = np.eye(len(table.classes))[table.labels]
    sure = RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "sure")))
    predictions.write(
        sure.predictions("val"),
        predictions.from_arrays(table.ids, table.labels, certain, table.classes, table.meta),
    )
    said = call("audit", *DRAWN, "--run", sure.path, "--out", tmp_path)
    (line,) = [line for line in said.splitlines() if "likely label errors" in line]
    assert line.split()[3] == "0"
    assert "likely label error" not in pl.read_csv(tmp_path / "audit.csv", infer_schema=False)["finding"]


def test_audit_with_a_run_ranks_likely_label_errors(finished_run: RunFolder, tmp_path: Path) -> None:
    said = call("audit", *DRAWN, "--run", finished_run.path, "--out", tmp_path)
    table = predictions.read(finished_run.predictions("val"))
    expected = label_errors.find(table)
    listed = pl.read_csv(tmp_path / "audit.csv", infer_schema=False)
    listed = listed.filter(pl.col("finding") == "likely label error")
    assert listed["id"].to_list() == [table.ids[row] for row in expected.rows]
    assert listed["value"].cast(pl.Float64).to_list() == pytest.approx(expected.margins.tolist())
    assert set(listed["exclude"]) == {"false"}
    assert f"{len(expected.rows):,}" in next(
        line for line in said.splitlines() if "likely label errors" in line
    )
    with pytest.raises(DataError, match="not in it"):
        call("audit", "data=drawn", "data.count=20", "data.imbalance=0", "--run", finished_run.path)


def class_folders(root: Path, seed: int) -> Path:
    for name in ("anger", "happiness"):
        (root / name).mkdir(parents=True)
        for number in range(6):
            noise = np.random.default_rng([seed, number, ord(name[0])]).integers(0, 256, (20, 20), np.uint8)
            Image.fromarray(noise).save(root / name / f"{name[0]}{number}.png")
    return root


def test_audit_refuses_a_run_on_other_pictures_of_the_same_names(tmp_path: Path, cache: Path) -> None:
    ours, theirs = class_folders(tmp_path / "ours", 1), class_folders(tmp_path / "theirs", 2)
    run = run_on(["data=folder", f"data.root={theirs}"], tmp_path / "run", cache)
    with pytest.raises(DataError, match="found run on other ones"):
        call("audit", ours, "--run", run.path, "--out", tmp_path)
    assert "likely label errors" in call("audit", theirs, "--run", run.path, "--out", tmp_path)
    # the same pictures in another size are the same pictures
    larger = call("audit", theirs, "preprocess.size_px=64", "--run", run.path, "--out", tmp_path)
    assert "likely label errors" in larger


def test_audit_refuses_a_run_with_other_labels(tmp_path: Path, cache: Path) -> None:
    table = tmp_path / "faces.csv"
    root = class_folders(tmp_path / "faces", 1)
    files = sorted(path.relative_to(tmp_path) for path in root.rglob("*.png"))
    table.write_text("\n".join(["path,label", *(f"{path},{path.parent.name}" for path in files)]))
    run = run_on(["data=csv", f"data.root={table}"], tmp_path / "run", cache)
    first = files[0]  # of anger, and in the run's table
    table.write_text(table.read_text().replace(f"{first},anger", f"{first},happiness"))
    with pytest.raises(DataError, match=f"1 of 6 labelled otherwise \\(the first: {first}"):
        call("audit", table, "data=csv", "--run", run.path, "--out", tmp_path)


def test_an_edited_audit_is_kept(fer_folders: Path, tmp_path: Path) -> None:  # noqa: F811
    call("audit", fer_folders, "--out", tmp_path)
    csv = tmp_path / "audit.csv"
    made = csv.read_text()
    assert "other content" not in call("audit", fer_folders, "--out", tmp_path)
    for number, edited in ((1, made + "by hand,,,,,,,,true\n"), (2, made + "by hand,,,,,,,,false\n")):
        csv.write_text(edited)
        said = call("audit", fer_folders, "--out", tmp_path)
        assert f"{csv} was there with other content: it is audit-{number}.csv now" in said
        assert csv.read_text() == made
        assert (tmp_path / f"audit-{number}.csv").read_text() == edited


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_on(DRAWN, tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("cache"))


def run_on(overrides: Sequence[str], there: Path, cache: Path) -> RunFolder:
    """A run folder with the validation table of a network that is right seven times of ten."""
    from emotion.data.dataset import open_store
    from emotion.launch import compose

    config = compose(list(overrides))
    store = open_store(config.data, config.preprocess, cache)
    rng = np.random.default_rng(0)
    rows = np.arange(0, len(store), 2)
    size = len(store.classes)
    p = rng.dirichlet(np.ones(size), len(rows)) * 0.5
    p[np.arange(len(rows)), np.where(rng.random(len(rows)) < 0.7, store.labels[rows], 0)] += 0.5
    folder = RunFolder(there)
    there.mkdir(exist_ok=True)
    folder.file("status.json").write_text('{"format": 1, "state": "finished"}')
    folder.file("config.yaml").write_text(yaml.safe_dump(config.plain()))
    facts = {"format": 1, "data": {"name": store.name, "fingerprint": store.fingerprint}}
    folder.file("splits.json").write_text(json.dumps(facts))
    meta = predictions.Meta(store.name, "val", folder.name, selected_on_this_part=True)
    ids = store.frame["id"].gather(rows).to_list()
    predictions.write(
        folder.predictions("val"), predictions.from_arrays(ids, store.labels[rows], p, store.classes, meta)
    )
    return folder


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["check"], None, ""),
        (["check", "one", "two"], ConfigError, "expected one folder, found one, two"),
        (["check", "model=resnet18"], ConfigError, "expected keys of data, preprocess, machine"),
        (["check", "data.part=all"], ConfigError, "expected a folder, or data=NAME"),
        (["check", "nowhere"], DataError, "does not exist"),
        (["show", "data=drawn", "data.cuont=3"], ConfigError, "did you mean count"),
    ],
)
def test_wrong_input(arguments: list[str], error: type[Exception] | None, said: str) -> None:
    if error is None:
        assert CliRunner().invoke(app, ["data", *arguments]).exit_code == 2
        return
    with pytest.raises(error, match=said):
        call(*arguments)


def test_a_card_tells_what_the_reader_knows(tmp_path: Path) -> None:
    from emotion.data.readers.raf_db import FACTS

    text = call("card", "raf_db")
    for fact in (FACTS.title, FACTS.citation, FACTS.licence, *FACTS.layouts, *FACTS.cautions, "data=raf_db"):
        assert fact in text
    assert "| happiness | 4,772 | 1,185 |" in text  # as published (Li, Deng and Du 2017)
    assert "* `data.variant`: " in call("card", "affectnet")
    call("card", "--out", tmp_path)
    assert {path.stem for path in tmp_path.glob("*.md")} == set(data_sets())
    assert (tmp_path / "raf_db.md").read_text() == text
    with pytest.raises(DataError, match="did you mean jaffe"):
        call("card", "jafe")


def test_the_committed_cards_are_current(tmp_path: Path) -> None:
    """`emotion data card --out docs/data` writes them."""
    call("card", "--out", tmp_path)
    kept = Path(__file__).parents[2] / "docs" / "data"
    assert {page.name: page.read_text() for page in kept.iterdir()} == {
        page.name: page.read_text() for page in tmp_path.glob("*.md")
    }
