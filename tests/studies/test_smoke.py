"""Every row of every study, on faces that are drawn in its data set's layout; and what a second start does."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import emotion
from emotion.cli import app
from emotion.commands.study import readme_block
from emotion.errors import ConfigError, RunError
from emotion.evaluation import predictions
from emotion.runs import RunFolder
from emotion.studies.run import Place, StudyRun
from emotion.studies.study import experiments_dir, load, study_names
from emotion.studies.tasks import Results, tasks_of
from tests.reporting import fakes

CODE = "import sys; from emotion.cli import main; sys.argv[0] = 'emotion'; main()"
LINE = (sys.executable, "-W", "ignore", "-c", CODE, "study")


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "EMOTION_CACHE": str(place / "cache")}


def start(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line, env = [*LINE, *arguments], environment(place)
    return subprocess.run(line, cwd=place, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", study_names())
def test_every_row_runs(name: str, tmp_path: Path) -> None:
    done = start(tmp_path, name, "--profile", "smoke")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    unmeasured = [line for line in done.stdout.splitlines() if "not measured:" in line]
    # an average of a row's own seeds needs two of them, and this profile has one
    said = "an average takes two runs"
    assert all(said in line for line in unmeasured), unmeasured
    assert "not measured yet" not in done.stdout
    for suffix in (".md", ".tex", ".html"):
        assert (tmp_path / "studies" / name / f"table{suffix}").stat().st_size > 1000


@pytest.mark.slow
def test_a_second_start_runs_nothing_and_lost_weights_are_made_again(tmp_path: Path) -> None:
    rows = ("fer2013_undersampling", "--profile", "smoke", "--rows")
    first = start(tmp_path, *rows, "lite0_frozen")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Nothing to run." in start(tmp_path, *rows, "lite0_frozen").stdout
    for run in (tmp_path / "runs").glob("*-fx-*"):
        (run / "checkpoints" / "best.ckpt").unlink()
    (kept,) = (tmp_path / "studies").rglob("lite0_frozen-s0")
    status = (kept / "status.json").read_text()
    with pytest.raises(RunError, match=r"--rows lite0_frozen --again --data-root fer2013=DIR$"):
        emotion.load_run(kept)
    again = start(tmp_path, *rows, "lite0_frozen", "--again")
    assert "lite0_frozen-s0 is known by its tables alone. Its weights are needed" in again.stdout
    assert len(list((tmp_path / "runs").glob("*-fx-*/checkpoints/best.ckpt"))) == 1
    for run in (tmp_path / "runs").glob("*-fx-*"):
        (run / "checkpoints" / "best.ckpt").unlink()
    third = start(tmp_path, *rows, "lite0_tuned")
    assert third.returncode == 0, third.stdout + third.stderr
    assert "lite0_frozen-s0 is known by its tables alone. Its weights are needed" in third.stdout
    assert third.stdout.index("known by its tables alone") < third.stdout.index("[1/1]")
    assert (kept / "status.json").read_text() == status  # the tables are those of the first training


@pytest.mark.slow
def test_a_command_that_needs_a_kept_run_s_weights_trains_it_again(tmp_path: Path) -> None:
    """Saliency, features and answers: what is kept stays as it is, and a second command trains nothing."""
    rows = ("fer2013_undersampling", "--profile", "smoke", "--rows", "lite0_tuned")
    assert start(tmp_path, *rows).returncode == 0
    results = tmp_path / "studies" / "fer2013_undersampling" / "results" / "smoke"
    before = {file: file.read_bytes() for file in results.rglob("*") if file.is_file()}
    kept, image = str(results / "lite0_tuned-s0"), tmp_path / "face.png"
    Image.new("L", (48, 48), 128).save(image)

    def done(*arguments: str) -> subprocess.CompletedProcess[str]:
        line, env = [*LINE[:-1], *arguments], environment(tmp_path)
        found = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr
        return found

    assert "trained again" not in done("predict", kept, str(image)).stderr  # its own run folder is still here
    shutil.rmtree(tmp_path / "runs")
    predicted = done("predict", kept, str(image), "--json")
    note = "holds tables alone. Its weights are needed: lite0_tuned-s0 is trained again"
    assert predicted.stderr.index(note) < predicted.stderr.index("2 runs") < predicted.stderr.index("[1/1]")
    assert set(json.loads(predicted.stdout)) == {"image", "label", "probabilities"}
    explained = done("explain", kept)
    assert "epoch" not in explained.stderr
    run = Path(explained.stdout.splitlines()[-1]).parent
    assert run.parent == tmp_path / "runs"
    assert RunFolder(run).metrics["test"] == RunFolder(Path(kept)).metrics["test"]
    assert len(list(run.rglob("sheets.json"))) == 1
    assert "epoch" not in done("probe", kept, "-o", "probe").stderr
    assert RunFolder.open(tmp_path / "probe").finished
    assert {file: file.read_bytes() for file in results.rglob("*") if file.is_file()} == before


@pytest.mark.slow
def test_a_killed_study_has_kept_the_rows_that_were_finished(tmp_path: Path) -> None:
    asked = ("lfw_ms_balance", "--profile", "smoke", "--rows", "ours_plain,ours_weights")
    line, env = [*LINE, *asked], environment(tmp_path)
    with subprocess.Popen(
        line, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as killed:
        assert any(line.startswith("[2/2] ") for line in killed.stdout or ())
        os.killpg(killed.pid, signal.SIGKILL)
    kept = sorted(path.parent.name for path in tmp_path.rglob("row.json"))
    assert kept == ["ours_plain-s0"]
    again = start(tmp_path, *asked)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "smoke: 1 run\n" in again.stdout
    assert len(list(tmp_path.rglob("row.json"))) == 2


def test_an_average_of_one_run_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, results = load("fer2013_vgg"), Results(tmp_path / "kept", tmp_path / "beside")
    for rows, measured in ((("ensemble_scratch_seeds",), False), (None, True)):
        running = StudyRun(study, "short", results, Place())
        monkeypatch.setattr(running, "_missing", lambda *_: {})
        assert running.run(rows) is measured
        assert "takes two runs, and one is asked for" in running.unmeasured["ensemble_scratch_seeds"]


def test_drawn_data_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = StudyRun(load("fer2013_vgg"), "smoke", Results(tmp_path, tmp_path), Place(work=tmp_path))

    def interrupted(name: str, folder: Path, count: int) -> None:
        folder.mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("emotion.data.mimic.draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            running._draw({"fer2013"})
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == [".fer2013-112.part"]
    running._draw({"fer2013"})
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["fer2013-112"]


def test_a_study_asks_for_the_devices_that_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def no_slots(*wanted: object) -> list[dict[str, str]]:
        asked.extend(wanted)
        raise RunError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOTION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("emotion.studies.run.slots", no_slots)
    line = ["study", "run", "lfw_ms_balance", "machine.devices=3", "machine.jobs=2", "--profile", "smoke"]
    CliRunner().invoke(app, [*line, "--rows", "listed"])
    assert asked == [3, 2]


def test_rows_without_data_or_weights_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other rows run: here the rows of FER2013 need weights that can't be had, those of ExpW have no data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("emotion.studies.run._unavailable", lambda network: "the hub can't be reached.")
    done = CliRunner().invoke(
        app,
        ["study", "expw_transfer", "--data-root", f"fer2013={tmp_path}", "--results", str(tmp_path / "kept")],
    )
    assert done.exit_code == 1, done.output
    assert (
        "mobilenetv2_basic: not measured: no expw_cleaned at hand: --data-root expw_cleaned=DIR"
        in done.output
    )
    assert (
        "fer2013_basic: not measured: weights unavailable: --weights tf_efficientnet_lite0=FILE"
        in done.output
    )
    assert "mobilenetv2_test: not measured: it needs mobilenetv2_optimized" in done.output
    assert done.output.index("mobilenetv2_test: not measured") < done.output.index("Nothing to run.")
    assert done.output.count("mobilenetv2_test: not measured") == 1


def planned(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *rows: str,
    **place: Path,
) -> tuple[list[str], str]:
    """The runs that study B's full profile would train here for `rows`, and what is printed."""
    monkeypatch.setattr("emotion.studies.run._unavailable", lambda network: "the hub can't be reached.")
    trained: list[str] = []
    kept = experiments_dir() / "fer2013_vgg" / "results"
    running = StudyRun(load("fer2013_vgg"), "full", Results(kept, tmp_path), Place(place))
    monkeypatch.setattr(running, "_train", lambda tasks: trained.extend(task.name for task in tasks))
    monkeypatch.setattr(running, "_probe", lambda task: trained.append(task.name))
    assert not running.run(rows)
    return trained, capsys.readouterr().out


def test_what_only_a_row_that_can_t_be_measured_needs_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The average of all networks, one of which has no weights here, takes hours of the others."""
    trained, said = planned(tmp_path, monkeypatch, capsys, "ensemble_all", fer2013=tmp_path)
    assert not trained
    assert "ensemble_all: not measured: it needs pretrained, which is not measured\nNothing to run." in said


def test_a_measured_row_is_not_called_unmeasured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A classifier on its features needs its weights, which can't be made again without the data."""
    trained, said = planned(tmp_path, monkeypatch, capsys, "svm_on_tuned", "tuned")
    assert not trained
    assert not re.search("^tuned: not measured", said, re.M)
    assert re.search("^tuned: (some of its runs not measured|measured, but its weights)", said, re.M)
    assert "trained again" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fer2013_vgg", "model.name=resnet18"], "expected overrides of machine"),
        (["fer2013_vgg", "--profile", "shot"], "expected a profile"),
        (["fer2013_vgg", "--rows", "scrath"], "found 'scrath'"),
        (["fer2013_vgg", "--seeds", "one"], "--seeds: expected numbers with commas between, found 'one'"),
        (["fer2013_vgg", "--seeds", "0,1"], r"expected some of profile short's seeds \(0\), found 0, 1"),
        (["expw_transfer", "--data-root", "somewhere"], "expected NAME=PATH"),
        (["fer2013_vgg", "--weights", "vgg16=/no/file"], "--weights vgg16: expected a file"),
        (["fer2013_vgg", "--weights", "vgg=/no/file"], r"--weights: expected NAME=PATH \(minivgg,"),
        (
            ["fer2013_vgg", "--data-root", "/no/folder"],
            "--data-root fer2013: expected a download, found nothing",
        ),
        (["table", "fer2013_vgg", "--results", "/no/folder"], "--results: expected a folder"),
        (["table", "fer"], "expected a study"),
    ],
)
def test_wrong_input_is_said(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        CliRunner().invoke(app, ["study", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("typed", [["study", "run", "fer2013_vgg"], ["study", "fer2013_vgg"]])
def test_the_full_profile_is_run_only_where_it_is_typed(
    monkeypatch: pytest.MonkeyPatch, typed: list[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("emotion.commands.study.run", lambda name, profile, *_: asked.append(profile) or True)
    for more in ([], ["--profile", "full"]):
        assert CliRunner().invoke(app, [*typed, *more], catch_exceptions=False).exit_code == 0
    assert asked == ["short", "full"]


def test_a_kept_run_without_its_data_at_hand_says_how_its_weights_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = experiments_dir() / "fer2013_vgg" / "results" / "full" / "scratch-s0"
    command = "emotion study run fer2013_vgg --profile full --rows scratch --again --data-root fer2013=DIR"
    with pytest.raises(RunError, match=f"has none here. Its command trains it again: {command}"):
        CliRunner().invoke(app, ["explain", str(kept)], catch_exceptions=False)


def test_what_is_not_committed_is_in_no_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = readme_block("fer2013_vgg")
    study = load("fer2013_vgg")
    (_, task) = tasks_of(study, study.row("scratch"), "full")
    beside = tmp_path / "studies" / "fer2013_vgg" / "results"
    shutil.copytree(
        experiments_dir() / "fer2013_vgg" / "results" / "full" / "scratch-s0", beside / "full" / task.name
    )
    (beside / "full" / task.name / "row.json").write_text(json.dumps({"format": 1, "recipe": task.recipe}))
    assert Results(tmp_path / "none", beside).find(task) is not None
    assert readme_block("fer2013_vgg") == before


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from emotion.cli import app; app(['study', 'list'], standalone_mode=False); "
        "print([name for name in ('torch', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert [line.split()[0] for line in done.stdout.splitlines()[:-1]] == study_names()


def test_an_average_of_runs_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [fakes.make_run(tmp_path / "runs", count=200, seed=seed) for seed in (1, 2)]
    # the same images: fakes draw their labels by the part alone
    folders = [str(run.path) for run in runs]
    done = CliRunner().invoke(app, ["ensemble", *folders, "-o", "both"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    both = RunFolder.open("both")
    tables = [predictions.read(run.predictions("test")) for run in (*runs, both)]
    one, two, mean = (dict(zip(table.ids, table.probabilities, strict=True)) for table in tables)
    assert one.keys() == mean.keys()
    assert all(abs((one[name] + two[name]) / 2 - mean[name]).max() < 1e-6 for name in mean)
    assert both.metrics["cost"]["parameters"] == sum(run.metrics["cost"]["parameters"] for run in runs)
    compared = CliRunner().invoke(app, ["compare", *folders, "both"], catch_exceptions=False)
    assert "average of 2" in compared.output
    third = fakes.make_run(tmp_path / "runs", count=200, seed=3)
    third.predictions("test").unlink()
    CliRunner().invoke(app, ["ensemble", folders[0], str(third.path), "-o", "both"], catch_exceptions=False)
    again = RunFolder.open("both")
    assert (again.has("val"), again.has("test")) == (
        True,
        False,
    )  # nothing of the average that was here before
    reported = CliRunner().invoke(app, ["report", "both"], catch_exceptions=False)
    assert reported.exit_code == 0


def test_readmes_are_what_the_kept_runs_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emotion.studies.page import BEGIN, END

    monkeypatch.chdir(tmp_path)  # away from results that are not committed
    for name in study_names():
        text = (experiments_dir() / name / "README.md").read_text()
        assert text.split(BEGIN)[1].split(END)[0].strip("\n") == readme_block(name).strip("\n"), name
