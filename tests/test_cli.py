import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotion.cli import app
from emotion.errors import DataError, EmotionError
from emotion.launch import compose
from emotion.runs import RunFolder
from emotion.training.folder import HeldError, locked

GOLDEN = Path(__file__).parent / "golden" / "format-1"
TRAIN = Path(__file__).parents[1] / "train.py"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "drawn-minivgg-f0-12345678"
    shutil.copytree(GOLDEN, folder)
    (folder.parent / "latest").symlink_to(folder.name)
    return folder.parent


def call(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def face(tmp_path: Path) -> Path:
    Image.fromarray(np.load(GOLDEN / "expected.npz")["images"][3]).save(tmp_path / "face (1).png")
    return tmp_path / "face (1).png"


def test_runs_list_shows_what_the_folders_say(runs: Path) -> None:
    said = call("runs", "list", "--runs-dir", runs)
    accuracy = RunFolder(runs / "latest").metrics["test"]["accuracy"]
    assert "drawn-minivgg-f0-12345678" in said
    assert f"{accuracy:.1%}" in said
    assert "latest" not in said


def test_runs_show_takes_a_name_or_a_path(runs: Path) -> None:
    for name in ("latest", runs / "drawn-minivgg-f0-12345678"):
        said = call("runs", "show", name, "--runs-dir", runs)
        assert "state     finished" in said
        assert "name: minivgg" in said


def test_runs_rm_deletes_only_what_is_named(runs: Path) -> None:
    shutil.copytree(GOLDEN, runs / "drawn-minivgg-f1-87654321")
    call("runs", "rm", "drawn-minivgg-f0-12345678", "--yes", "--runs-dir", runs)
    assert {path.name for path in runs.iterdir()} == {"drawn-minivgg-f1-87654321", "latest"}
    assert (runs / "latest").resolve().name == "drawn-minivgg-f1-87654321"
    call("runs", "rm", "latest", "--yes", "--runs-dir", runs)
    assert not os.path.lexists(runs / "latest")


def test_runs_rm_leaves_a_run_that_is_being_trained(runs: Path) -> None:
    with locked(runs / "drawn-minivgg-f0-12345678"):
        done = CliRunner().invoke(app, ["runs", "rm", "latest", "--yes", "--runs-dir", str(runs)])
    assert isinstance(done.exception, HeldError)
    assert (runs / "latest" / "status.json").is_file()


def test_runs_rm_asks_first(runs: Path) -> None:
    CliRunner().invoke(app, ["runs", "rm", "latest", "--runs-dir", str(runs)], input="n\n")
    assert (runs / "drawn-minivgg-f0-12345678").is_dir()


def test_predict_as_json_and_as_a_table(runs: Path, face: Path) -> None:
    expected = np.load(GOLDEN / "expected.npz")["probabilities"][3]
    line = json.loads(call("predict", runs / "latest", face, "--json"))
    np.testing.assert_allclose(list(line["probabilities"].values()), expected, atol=1e-4)
    assert line["label"] == list(line["probabilities"])[int(expected.argmax())]
    assert line["image"] == str(face)
    said = call("predict", runs / "latest", face)
    assert line["label"] in said
    assert all(name in said for name in (str(face), *line["probabilities"]))  # a pipe cuts no column


def test_one_broken_image_of_many_hides_no_other(runs: Path, face: Path, tmp_path: Path) -> None:
    text, gone = tmp_path / "text.png", tmp_path / "gone.png"
    text.write_text("hello")
    images = [text, *[face] * 70, gone, face]  # in more batches than one
    expected = np.load(GOLDEN / "expected.npz")["probabilities"][3]
    for form in ((), ("--json",)):
        done = CliRunner().invoke(app, ["predict", str(runs / "latest"), *map(str, images), *form])
        assert isinstance(done.exception, DataError)
        assert str(done.exception).startswith("2 of 73 images can't be used.\n")
        assert f"{text}: not an image" in str(done.exception)
        assert f"{gone} can't be read" in str(done.exception)
        assert done.output.count(str(face)) == 71
    lines = [json.loads(line) for line in done.output.splitlines()]
    assert [line["image"] for line in lines] == [str(image) for image in images]
    assert "not an image" in lines[0]["error"]
    np.testing.assert_allclose(list(lines[-1]["probabilities"].values()), expected, atol=1e-4)


def test_report_is_written_where_it_says(runs: Path, tmp_path: Path) -> None:
    said = call("report", runs / "latest", "--out", tmp_path / "r.html")
    assert Path(said.strip()).read_text().startswith("<!doctype html>")
    said = call("report", runs / "latest", "--out", tmp_path / "R.MD")
    assert Path(said.strip()).read_text().startswith("**Scores")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "nowhere", "x.png"], "expected a run folder, found nothing at"),
        (["predict", "RUNS/latest", "nothing.png"], "nothing.png can't be read: No such file"),
        (["predict", "RUNS/latest", "text.png"], "text.png: not an image"),
        (["runs", "list", "--runs-dir", "nowhere"], "expected runs in"),
        (["runs", "show", "TMP"], "expected a run folder (with status.json"),
        (["sweep", "table", "TMP"], "expected a sweep folder"),
        (
            ["report", "RUNS/latest", "--out", "r.pdf"],
            "--out: expected a file that ends with .html, .md, .tex",
        ),
        (["quiz", "RUNS/löuf"], "expected a run folder, found nothing at"),
        (
            ["quiz", "--answers", "a.json", "b.json", "c.json"],
            "--answers a.json --answers b.json --answers c.json",
        ),
    ],
)
def test_wrong_input_is_said(runs: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "text.png").write_text("hello")
    names = {
        "RUNS/latest": str(runs / "latest"),
        "RUNS/löuf": str(runs / "löuf"),
        "TMP": str(tmp_path),
        "text.png": str(tmp_path / "text.png"),
    }
    with pytest.raises(EmotionError) as caught:
        CliRunner().invoke(app, [names.get(a, a) for a in arguments], catch_exceptions=False)
    assert said in str(caught.value)


def test_a_negative_seed_is_refused_where_it_is_typed() -> None:
    done = CliRunner().invoke(app, ["quiz", "drawn", "--seed", "-1"])
    assert done.exit_code == 2
    assert "--seed" in done.output


def train(tmp_path: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    here = [f"machine.runs_dir={tmp_path}/runs", f"machine.cache_dir={tmp_path}/cache"]
    return subprocess.run([sys.executable, str(TRAIN), *overrides, *here], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "code", "said"),
    [
        (["fold=7", "folds=4"], 2, "fold: expected null or 0 to 3 (folds=4), found 7"),
        (["model=resnet81"], 2, "did you mean resnet18"),
        (
            ["loss=cross_entropy", "loss.gamma=2"],
            2,
            "loss.gamma: unknown key of loss=cross_entropy; it belongs to loss=focal",
        ),
        (["data=fer2013", "data.root=/no/such (folder)"], 1, "/no/such (folder)"),
        (["data=fer2013"], 1, "data.root"),
        (["experiment=nothing"], 2, "experiment: expected one of"),
        (["optimizer.lr=fast"], 2, "optimizer.lr: expected a number, found 'fast'"),
    ],
)
def test_wrong_input_of_training(tmp_path: Path, overrides: list[str], code: int, said: str) -> None:
    done = train(tmp_path, *overrides)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()  # nothing half-written that a later run would trust
    assert not (tmp_path / "outputs").exists()


def test_ctrl_c_leaves_a_run_that_is_continued(tmp_path: Path) -> None:
    overrides = [
        *(
            "data.count=140",
            "data.imbalance=0",
            "model=test_resnet",
            "machine.workers=0",
            "trainer.max_epochs=400",
        ),
        *(
            "trainer.precision=fp32",
            f"machine.runs_dir={tmp_path}/runs",
            f"machine.cache_dir={tmp_path}/cache",
            "name=two words",
        ),
    ]
    # a background shell's processes ignore Ctrl-C from birth; what is handled isn't inherited
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([sys.executable, str(TRAIN), *overrides], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            process.send_signal(2)
            break
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command continues this run." in errors
    assert "Traceback" not in errors
    run = RunFolder.open(next(p for p in (tmp_path / "runs").iterdir() if p.name != "latest"))
    assert run.status["state"] == "interrupted"
    assert run.checkpoint("last").is_file()
    assert shlex.split(run.environment["command"]) == [str(TRAIN), *overrides]  # as typed, fit to be pasted


def test_ctrl_c_before_anything_was_begun(tmp_path: Path) -> None:
    """While modules are imported; the audit hook presses it at a certain one."""
    (tmp_path / "sitecustomize.py").write_text(
        "import signal, sys\n"
        "def hook(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'hydra':\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "sys.addaudithook(hook)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    done = subprocess.run(
        [sys.executable, str(TRAIN)], capture_output=True, text=True, env=env, cwd=tmp_path, check=False
    )
    signal.signal(signal.SIGINT, before)
    assert done.returncode == 130
    assert done.stderr == "\nInterrupted: nothing was begun.\n"


def test_a_forced_run_is_continued_without_force() -> None:
    forced = compose(["force=true", "experiment=demo"])
    assert forced.same_command == "The same command without force=true"
    assert compose(["experiment=demo"]).same_command == "The same command"


def test_the_command_is_kept_as_it_was_typed(tmp_path: Path) -> None:
    """By `emotion train` too, so that it can be pasted."""
    line = ["train", "data.count=140", "data.batch_size=16", "trainer.max_epochs=1", "trainer.limit_train_batches=1",
            "machine.devices=cpu", f"machine.runs_dir={tmp_path}/runs", f"machine.cache_dir={tmp_path}/c"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = "import sys; from emotion.cli import main; sys.argv[0] = 'emotion'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *line], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    assert shlex.split(RunFolder.open(tmp_path / "runs" / "latest").environment["command"]) == [
        "emotion",
        *line,
    ]


@pytest.mark.parametrize("arguments", [["schema", "/proc/x"], ["data", "card", "fer2013", "-o", "/proc/x"]])
def test_what_can_t_be_written_is_said(arguments: list[str]) -> None:
    code = "import sys; from emotion.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Error: expected to read and write files" in done.stderr
    assert "Traceback" not in done.stderr


def test_model_describes_what_a_run_builds() -> None:
    """From the size of the chosen data on, never below the network's least."""
    assert "minivgg, input 1×96×96" in call("model", "minivgg", "preprocess.crop_px=96")
    assert "input 3×75×75" in call("model", "inception_v3", "preprocess.size_px=48")


def test_a_run_without_metrics_does_not_hide_the_others(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "all", symlinks=True)
    whole = next(path for path in (tmp_path / "all").iterdir() if path.is_dir() and not path.is_symlink())
    shutil.copytree(whole, tmp_path / "all" / "fer2013-broken-fx-00000000")
    (tmp_path / "all" / "fer2013-broken-fx-00000000" / "metrics.json").unlink()
    said = call("runs", "list", "--runs-dir", tmp_path / "all")
    assert whole.name[:20] in said
    assert "unreadable" in said


def test_model_prints_what_the_reports_print() -> None:
    said = call("model", "vgg16_blocks", "model.args.blocks=4", "model.input_size=48", "head=mlp", "head.pool=flatten",
                "head.hidden=[2048,2048]", "head.batch_norm=true",
                "model.freeze=[backbone.features.0,backbone.features.1,backbone.features.2]")  # fmt: skip
    assert "vgg16_blocks, input 3×48×48, 7 classes" in said
    assert re.search(r"backbone\.features\.0\.0 +Conv2d +64×48×48 +1,792 +0\n", said)
    assert re.search(r"backbone\.features\.3\.6 +MaxPool2d +512×3×3 *\n", said)
    assert re.search(r"head\.0 +Linear +2048 +9,439,232 +9,439,232\n", said)
    assert "weights 21,293,383 · weights + stats 21,301,575 · trainable 19,557,895" in said


def test_model_takes_classes_and_any_network() -> None:
    said = call("model", "affect_base", "--classes", 11)
    assert "weights 1,144,075 · weights + stats 1,144,779 · trainable 1,144,075" in said
    said = call("model", "vit_tiny_patch16_224", "--classes", 1000)
    assert (
        "weights 5,717,416 · weights + stats 5,717,416" in said
    )  # timm's own count, tokens and positions included
    assert "PatchEmbed" not in said


def test_model_lists_a_layer_that_is_passed_twice_once() -> None:
    said = call("model", "affect_hybrid", "--classes", 11, "model.input_size=128")
    assert len(re.findall(r"features\.reduce ", said)) == 1
    assert "weights 8,889,579 ·" in said


def test_model_says_what_is_wrong() -> None:
    with pytest.raises(EmotionError, match=r"Did you mean backbone.features\?"):
        call("model", "minivgg", "model.freeze=[features]")
