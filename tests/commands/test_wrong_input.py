"""`emotion report` and `emotion compare` on runs that have something wrong: a clear message, and the rest is done."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from emotion.cli import app
from emotion.errors import EmotionError
from emotion.evaluation import predictions
from emotion.runs import RunFolder
from tests.reporting import fakes
from tests.reporting.page_tree import Node, parse

CLASSES = ("anger", "fear", "sadness")


def call(*arguments: object) -> Result:
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def make(folder: Path, name: str, *, skill: float = 1.0, count: int = 120, **options: object) -> RunFolder:
    arguments = {"classes": CLASSES, "count": count, **options}
    return fakes.make_run(folder, skill=skill, config={"model.name": name}, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def good(tmp_path: Path) -> list[RunFolder]:
    return [make(tmp_path, "one"), make(tmp_path, "two", skill=4)]


def rewritten(run: RunFolder, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """The validation table with other content, unchecked."""
    path = run.predictions("val")
    metadata = pl.read_parquet_metadata(path)["emotion"]
    change(pl.read_parquet(path)).write_parquet(path, metadata={"emotion": metadata})


def other_images(folder: Path) -> RunFolder:
    return make(folder, "bad", count=100)


def no_predictions(folder: Path) -> RunFolder:
    return make(folder, "bad", parts=())


def nan(folder: Path) -> RunFolder:
    run = make(folder, "bad")
    rewritten(run, lambda frame: frame.with_columns(pl.lit(float("nan"), pl.Float32).alias("p/fear")))
    return run


def other_classes(folder: Path) -> RunFolder:
    return make(folder, "bad", classes=("anger", "fear", "contempt"))


def other_labels(folder: Path) -> RunFolder:
    run = make(folder, "bad")
    rewritten(run, lambda frame: frame.with_columns(((pl.col("label") + 1) % 3).cast(pl.Int16)))
    return run


def one_sample(folder: Path) -> RunFolder:
    table = (np.array([1]), np.array([[0.7, 0.2, 0.1]]))
    return make(folder, "bad", parts=("val",), tables={"val": table})


def half_written(folder: Path) -> RunFolder:
    """Killed before its first status, or half copied."""
    run = make(folder, "bad")
    for path in run.path.iterdir():
        if path.name != "config.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return run


def cut(folder: Path) -> RunFolder:
    run = make(folder, "bad")
    for name in ("predictions/val.parquet", "status.json"):
        run.file(name).write_bytes(run.file(name).read_bytes()[:50])
    return run


def running(folder: Path) -> RunFolder:
    run = make(folder, "bad", parts=())
    run.file("status.json").write_text(json.dumps({**run.status, "state": "running", "epoch": 3}))
    return run


FAULTS: list[tuple[Callable[[Path], RunFolder], str]] = [
    (other_images, "found 20 ids that only one of"),
    (no_predictions, "no validation predictions: its command completes it"),
    (nan, "found NaN or infinity (the training diverged)"),
    (other_classes, "anger, fear, sadness; and anger, fear, contempt"),
    (other_labels, "found 120 of 120 images with another label"),
    (one_sample, "found 119 ids that only one of"),
    (half_written, "no validation predictions (it is half-written)"),
    (cut, "val.parquet: expected a parquet file, found one that can't be read"),
    (running, "no validation predictions (it is running)"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_the_others_are_compared(
    good: list[RunFolder], tmp_path: Path, fault: Callable[[Path], RunFolder], said: str
) -> None:
    whole = call("compare", *[run.path for run in good])
    found = call("compare", *[run.path for run in good], fault(tmp_path / "bad").path)
    assert said in found.stderr

    def table(text: str) -> list[list[str]]:
        """Names get longer where more has to be told apart."""
        return [line.split()[-6:] for line in text.splitlines()[2:5]]

    assert table(found.stdout)[1:] == table(whole.stdout)[1:]
    assert "is better than" in found.stdout
    assert "bad" not in found.stdout


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (fault, "This run has left no predictions" if "no validation predictions" in said else said)
        for fault, said in FAULTS
    ],
    ids=[fault.__name__ for fault, _ in FAULTS],
)
def test_the_report_is_still_made(
    good: list[RunFolder], tmp_path: Path, fault: Callable[[Path], RunFolder], said: str
) -> None:
    out = tmp_path / "report.html"
    call("report", *[run.path for run in good], fault(tmp_path / "bad").path, "-o", out)
    page = parse(out.read_text())
    assert said in notes(page)
    assert "two is better than one" in page.one("p", class_="finding").text.replace(" · ", " ")


def notes(page: Node) -> str:
    return " ".join(note.text for note in page.find("p", class_="note"))


def test_a_class_without_images(tmp_path: Path) -> None:
    labels = np.arange(90) % 2
    runs = []
    for seed, share in ((1, 0.2), (2, 0.8)):
        scores = share * np.eye(3)[labels] + (1 - share) * np.random.default_rng(seed).dirichlet(
            np.ones(3), 90
        )
        tables = dict.fromkeys(("val", "test"), (labels, scores))
        runs.append(make(tmp_path, f"net{seed}", tables=tables, seed=seed).path)
    assert "is better than" in call("compare", *runs).stdout
    assert "sadness has no images (under 10)" in call("compare", *runs, "--metric", "f1_macro").stderr
    with pytest.raises(EmotionError, match="auroc/sadness undefined for .* a class has no image here"):
        call("compare", *runs, "--metric", "auroc/sadness")
    call("report", *runs, "-o", tmp_path / "r.html")
    assert "no image of sadness" in notes(parse((tmp_path / "r.html").read_text()))


def test_one_image_in_all_runs(tmp_path: Path) -> None:
    table = (np.array([0]), np.array([[0.7, 0.2, 0.1]]))
    runs = [make(tmp_path, name, tables={"val": table}, parts=("val",)).path for name in ("one", "two")]
    with pytest.raises(EmotionError, match="at least two independent images or groups to compare runs on"):
        call("compare", *runs)
    call("report", *runs, "-o", tmp_path / "r.html")
    page = parse((tmp_path / "r.html").read_text())
    assert "No paired test could be made. expected at least two independent images" in notes(page)
    assert "100.0" in page.one("section", id="ranking").text


@pytest.mark.parametrize("name", ["r.html", "r.md", "r.tex"])
def test_a_folder_that_may_not_be_written(
    good: list[RunFolder], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("emotion.atomic.tempfile.mkstemp", forbidden)  # chmod doesn't stop root
    with pytest.raises(EmotionError, match=rf"expected to write the .*{name}, found Permission denied"):
        call("report", *[run.path for run in good], "-o", tmp_path / name)


def test_files_that_may_not_be_read(good: list[RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    read = predictions.read

    def forbidden(path: Path) -> predictions.Predictions:
        if "two" in str(path):
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(predictions, "read", forbidden)
    with pytest.raises(EmotionError, match="its validation predictions can't be shown; Permission denied"):
        call("compare", *[run.path for run in good])


@pytest.mark.parametrize("command", ["report", "compare"])
def test_what_is_no_run_is_refused(good: list[RunFolder], tmp_path: Path, command: str) -> None:
    with pytest.raises(EmotionError, match="found nothing at .*/nowhere"):
        call(command, good[0].path, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmotionError, match=r"with status\.json and config\.yaml\), found none"):
        call(command, good[0].path, tmp_path / "empty")


def test_a_run_named_twice_is_one(good: list[RunFolder], tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(good[1].path)
    twice = call("compare", good[0].path, good[1].path, tmp_path / "latest")
    assert twice.stdout == call("compare", good[0].path, good[1].path).stdout
