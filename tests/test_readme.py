"""What README.md says: commands that work, names that exist, code that is real, results that can be made again."""

import ast
import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from emotion import schema
from emotion.cli import app
from emotion.errors import ConfigError, RunError
from emotion.evaluation import predictions
from emotion.help import text as help_text
from emotion.launch import choices, compose
from emotion.registry import entries
from emotion.runs import RunFolder
from tests.reporting import fakes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL))
COMMANDS = list(
    dict.fromkeys(
        [line for kind, block in FENCES if kind == "sh" for line in block.splitlines() if line]
        + [span for span in SPANS if re.match(r"(python|make|emotion|docker) ", span) and "…" not in span]
    )
)


def words(command: str) -> list[str]:
    """As a shell splits it, without its comment."""
    return shlex.split(command, comments=True)


def commands(*start: str) -> list[str]:
    found = [command for command in COMMANDS if words(command)[: len(start)] == list(start)]
    assert found, f"the README has no command that begins with {' '.join(start)}"
    return found


def overrides_of(command: str) -> tuple[bool, list[str]]:
    """Whether it is a sweep, and its overrides; options that only show something are left out."""
    arguments = words(command)[2:]
    multirun = "-m" in arguments
    shown = [a for a in arguments if a not in ("-m", "--help", "--cfg", "job")]
    assert not [a for a in shown if a.startswith("-")], f"unknown option in {command}"
    return multirun, shown


def jobs(multirun: bool, overrides: list[str]) -> list[list[str]]:
    """Every combination of the commas."""
    if not multirun:
        return [overrides]
    axes = [
        [f"{key}={value}" for value in values.split(",")]
        for key, _, values in (override.partition("=") for override in overrides)
    ]
    return [list(job) for job in itertools.product(*axes)]


TRAINING = [command for command in commands("python", "train.py") if "--config-dir" not in command]


@pytest.mark.parametrize("command", TRAINING)
def test_training_commands_compose(command: str) -> None:
    multirun, overrides = overrides_of(command)
    found = jobs(multirun, overrides)
    assert (len(found) > 1) == multirun
    for job in found:
        config = compose(job)
        assert config.data.root is not None or config.data.name == "drawn", "it would fail without data.root"


def test_the_check_notices_a_wrong_command() -> None:
    with pytest.raises(ConfigError, match=r"loss\.gama"):
        compose(overrides_of("python train.py loss=focal loss.gama=2  # a comment")[1])


def test_a_folder_of_ones_own_works_as_described(tmp_path: Path) -> None:
    command = next(command for command in commands("python", "train.py") if "--config-dir" in command)
    own = tmp_path / "mine" / "experiment" / "ours.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# @package _global_\nseed: 7\n")
    line = [sys.executable, str(ROOT / "train.py"), *words(command)[2:], "--cfg", "job"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "seed: 7" in done.stdout


def test_make_targets_exist() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    for command in commands("make"):
        targets = [word for word in words(command)[1:] if "=" not in word]
        assert targets
        assert set(targets) <= set(phony[1].split()), command


@pytest.mark.parametrize("command", commands("emotion"))
def test_emotion_commands_exist(command: str) -> None:
    found: Any = typer.main.get_command(app)
    rest = words(command)[1:]
    while hasattr(found, "commands"):
        assert rest, f"{command} names a group, not a command"
        assert rest[0] in found.commands, f"emotion has no command {rest[0]}"
        found, rest = found.commands[rest[0]], rest[1:]
    found.make_context("emotion", rest)  # raises where an option or a number of arguments is wrong


def test_that_check_notices_a_wrong_option() -> None:
    command: Any = typer.main.get_command(app)
    with pytest.raises(Exception, match="No such option"):
        command.commands["report"].make_context("emotion", ["RUN", "--outt", "x"])


def test_python_scripts_exist() -> None:
    for command in COMMANDS:
        parts = words(command)
        if parts[0] == "python" and parts[1].endswith(".py"):
            assert (ROOT / parts[1]).is_file(), command


def test_linked_paths_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert "experiments/first_light/faces.png" in links
    named = [span for span in SPANS if re.fullmatch(r"(conf|emotion|experiments|tests)/[\w/.]+", span)]
    for path in [*links, *named]:
        if path != "experiments/first_light/results/":  # made by the script that the README names beside it
            assert (ROOT / path).exists(), path


def test_the_table_of_groups_is_complete() -> None:
    rows = re.findall(r"^\| (`\w+`|top level) \| (.*?) ?\| (.*?) ?\|$", README, re.MULTILINE)
    table = {group.strip("`"): (code(listed), code(keys)) for group, listed, keys in rows}
    assert set(table) == {*schema.GROUPS, "top level"}
    help_keys = set(re.findall(r"^  ([\w.]+)=", help_text(), re.MULTILINE))
    for group, (listed, keys) in table.items():
        assert set(keys) <= help_keys, f"{group}: {set(keys) - help_keys}"
        if group == "model" or entries(group):
            assert set(listed) == set(choices(group)), group
    assert set(table["top level"][1]) == set(schema.TopLevel.model_fields)


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_keys_in_the_text_exist() -> None:
    """`group.key` and `key=value` anywhere in the text, but for those of the plug-in."""
    known = set(re.findall(r"^  ([\w.]+)=", help_text(), re.MULTILINE)) | {*schema.GROUPS, "experiment"}
    named = {
        word.partition("=")[0]
        for span in SPANS
        if not re.match(r"(python|make|emotion|docker|data=stripes) ", span)
        for word in span.split()
        if word.partition(".")[0] in schema.GROUPS and "." in word
    }
    assert len(named) > 20
    assert {name for name in named if not name.endswith((".py", "*"))} <= known


def test_code_of_the_plugin_is_real() -> None:
    """A block names its file in its first line; what lies between lines of `...` is in that file."""
    blocks = [block for _, block in FENCES if block.startswith("# tests/plugin/")]
    assert len(blocks) == 5
    for block in blocks:
        name, _, shown = block.partition("\n")
        there = squeezed((ROOT / name.removeprefix("# ")).read_text())
        for piece in re.split(r"^\.\.\.$", shown, flags=re.MULTILINE):
            for part in piece.strip().split("\n\n"):
                assert squeezed(part) in there, f"{name}: {part}"


def squeezed(text: str) -> str:
    return re.sub(r"[\s,]", "", text)


def test_python_code_compiles_and_trains_what_exists() -> None:
    (block,) = [block for kind, block in FENCES if kind == "python" and "import emotion\n" in block]
    calls = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    trained = [ast.literal_eval(call.args[0]) for call in calls if "emotion.train(" in ast.unparse(call)[:14]]
    assert len(trained) == 1
    compose(trained[0])


def test_the_dockerfile_copies_what_is_let_in() -> None:
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = {
        source
        for line in re.findall(r"^COPY (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"experiments/first_light/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_what_its_script_draws() -> None:
    committed = ROOT / "experiments/first_light/faces.png"
    assert committed.stat().st_size <= 150_000
    drawn = np.asarray(script("picture").sheet()).astype(int)
    shown = np.asarray(Image.open(committed).convert("RGB")).astype(int)
    assert shown.shape == drawn.shape
    assert (
        np.abs(shown - drawn).mean() < 6
    )  # a palette of 256 colours, and fonts that differ between versions


@pytest.fixture(scope="module")
def results() -> ModuleType:
    return script("results")


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    return path


def a_run(folder: Path, **changes: Any) -> RunFolder:
    run = fakes.make_run(
        folder,
        count=300,
        config={
            "data.root": "/somebody/else's/fer",
            "machine.runs_dir": "/somebody/runs",
            "loss.label_smoothing": 0.1,
        },
        **changes,
    )
    environment = {**run.environment, "command": "/somebody/train.py ++data.root='/somebody/else'"}
    run.file("environment.json").write_text(json.dumps(environment))
    return RunFolder(run.path)


def test_results_are_kept_and_written(results: ModuleType, readme: Path, tmp_path: Path) -> None:
    run = a_run(tmp_path / "runs", leaks=20)
    kept = results.keep(run, tmp_path / "kept")
    results.rewrite(readme, tmp_path / "kept")

    files = sorted(str(file.relative_to(kept)) for file in kept.rglob("*") if file.is_file())
    assert files == [
        "config.yaml",
        "environment.json",
        "metrics.csv",
        "metrics.json",
        "predictions/test.parquet",
        "predictions/val.parquet",
        "splits.json",
        "status.json",
    ]
    assert not [file for file in files if b"somebody" in (kept / file).read_bytes()]
    table = predictions.read(run.predictions("test"))
    again = predictions.read(kept / "predictions" / "test.parquet")
    assert (again.predicted == table.predicted).all()
    assert np.abs(again.probabilities - table.probabilities).max() < 1e-3

    before, head, _, row, _, twins, after = readme.read_text().split("\n", 1)[1].split("\n", 6)
    assert (before, after) == ("<!-- results -->", "<!-- /results -->\nafter\n")
    cells = dict(
        zip(*([cell.strip() for cell in line.strip("|").split("|")] for line in (head, row)), strict=True)
    )
    accuracy = (table.predicted == table.labels).mean()
    assert cells["data"] == "fer2013"
    assert cells["network"] == "minivgg, from scratch"
    assert cells["test accuracy (95 % interval)"].startswith(f"{100 * accuracy:.1f}")
    assert cells["epochs"] == "24"
    assert cells["training time"] == "20 min 42 s"
    assert cells["hardware"] == "Test CPU, 2 threads, fp32"
    assert cells["date"] == "2026-03-02"
    assert twins.startswith("* fer2013, minivgg: 20 of the 300 test images share")

    command = cells["command"].strip("`")
    assert "data.root=~/fer2013" in command
    made = compose(overrides_of(command)[1])
    assert (made.data.name, made.augment.name, made.schedule.name) == ("fer2013", "basic", "cosine")
    assert (made.loss.label_smoothing, made.trainer.max_epochs) == (0.1, 30)


def test_results_stay_when_written_again(results: ModuleType, readme: Path, tmp_path: Path) -> None:
    results.keep(a_run(tmp_path / "runs"), tmp_path / "kept")
    results.rewrite(readme, tmp_path / "kept")
    first = readme.read_text()
    results.keep(a_run(tmp_path / "again"), tmp_path / "kept")
    results.rewrite(readme, tmp_path / "kept")
    assert readme.read_text() == first


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=demo"],
        ["experiment=demo", "model=resnet18", "fold=1"],
        ["head=mlp", "head.hidden=[64,32]", "optimizer=sgd", "optimizer.nesterov=false"],
        ["loss=focal", "loss.gamma=0.5", "seed=3", "callbacks.early_stopping.patience=2"],
        ["experiment=fer2013_minivgg", "data.root=~/fer2013", "augment=none", "trainer.gradient_clip=1"],
    ],
)
def test_the_command_of_a_configuration_makes_it(results: ModuleType, overrides: list[str]) -> None:
    config = compose(
        [*overrides, "name=mine", "machine.threads=1", "evaluation.test=false", "evaluation.batch_size=8"]
    )
    found = words(results.command_of(config.plain()))[2:]
    assert len(found) <= len(overrides)
    made, wanted = compose(found).plain(), config.plain()
    for plain in (made, wanted):
        del plain["machine"], plain["name"], plain["evaluation"]["test"], plain["evaluation"]["batch_size"]
    assert made == wanted


def test_runs_that_cannot_be_kept(
    results: ModuleType, readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match=r"evaluation\.test=true"):
        results.keep(a_run(tmp_path / "untested", parts=("val",)), tmp_path / "kept")
    running = a_run(tmp_path / "running")
    running.file("status.json").write_text(json.dumps({**running.status, "state": "running"}))
    with pytest.raises(RunError, match="expected a finished run"):
        results.keep(RunFolder(running.path), tmp_path / "kept")
    monkeypatch.setattr("emotion.kept.LIMIT_BYTES", 1000)
    with pytest.raises(RunError, match="expected at most 1,000 bytes"):
        results.keep(a_run(tmp_path / "large"), tmp_path / "kept")
    assert results.block(tmp_path / "kept") == "No run has been recorded yet."
    readme.write_text("no marks")
    with pytest.raises(RunError, match="once each"):
        results.rewrite(readme, tmp_path / "kept")


def test_the_table_is_what_the_kept_runs_make(results: ModuleType) -> None:
    between = README.split(results.BEGIN)[1].split(results.END)[0]
    assert between.strip("\n") == results.block()
