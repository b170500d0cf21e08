"""What is typed behind `python train.py`, up to the checked configuration. Nothing here is trained."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from emotion import schema
from emotion.errors import ConfigError
from emotion.launch import compose, conf_dir, prepare

TRAIN = Path(__file__).parents[1] / "train.py"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=env, check=False)


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(str(TRAIN), *arguments)


def refused(*arguments: str) -> str:
    """The text about a line that is wrong, which has to be refused as such."""
    done = train(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("group", schema.GROUPS)
def test_null_is_no_choice(group: str) -> None:
    files = sorted(file.stem for file in (conf_dir() / group).glob("*.yaml") if file.stem[0] != "_")
    with pytest.raises(ConfigError) as caught:
        compose([f"{group}=null"])
    said = str(caught.value)
    assert said.startswith(f"{group}: expected one of {', '.join(files)}")
    assert said.endswith("found null.")


def test_no_experiment_is_null() -> None:
    assert compose(["experiment=null", "seed=3"]) == compose(["seed=3"])
    assert prepare(["experiment=null"], multirun=True) == []


def test_null_in_a_line_and_in_a_sweep() -> None:
    assert "data: expected one of affectnet, " in refused("data=null")
    said = refused("-m", "data=null,drawn", "experiment=null,demo", "trainer.max_epochs=0")
    assert "found null.\n  in 2 of 4 jobs, the first: data=null experiment=null trainer.max_epochs=0" in said
    assert "in 2 of 4 jobs, the first: data=drawn experiment=null" in said


def test_a_group_without_names_has_its_files() -> None:
    with pytest.raises(ConfigError, match="trainer: expected one of default, found 'long'"):
        compose(["trainer=long"])


@pytest.mark.parametrize(
    "overrides", [[], ["model=resnet34", "data.root=/ä (b)"], ["experiment=demo", "augment=none"]]
)
def test_cfg_job_prints_what_a_run_would_be(overrides: list[str]) -> None:
    done = train("--cfg", "job", *overrides)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == compose(overrides).plain()


def test_cfg_job_checks() -> None:
    said = refused("--cfg", "job", "lrr=1", "trainer.max_epochs=banana", "model=resnt18")
    assert "The configuration has 3 problems:" in said
    assert "found 'resnt18'; did you mean resnet18" in said
    assert "trainer.max_epochs" in refused("trainer.max_epochs=banana", "-p", "machine", "-c=job")


def test_cfg_job_imports_no_torch() -> None:
    code = (
        "import sys; from emotion.launch import main; sys.argv = ['train.py', '--cfg', 'job']; main(); "
        "assert not {'torch', 'timm', 'polars'} & set(sys.modules)"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "name: minivgg" in done.stdout


def test_cfg_of_a_section() -> None:
    done = train("--cfg", "job", "--resolve", "--package", "callbacks.early_stopping")
    assert done.stdout == "# @package callbacks.early_stopping\npatience: null\nmin_delta: 0.0\n", done.stderr
    assert "expected a section of the configuration" in refused("--cfg", "job", "--package", "trainr")


def test_cfg_of_hydra_is_left_to_hydra() -> None:
    assert train("--cfg", "hydra").stdout.startswith("hydra:\n")


def test_cfg_is_of_one_run() -> None:
    assert "leave out -m" in refused("--cfg", "job", "-m", "fold=0,1")


@pytest.mark.parametrize("value", ["fold=0,1", "model=resnet18,resnet34", "fold=range(0,3)", "+seed=1,2"])
def test_several_values_need_m(value: str) -> None:
    with pytest.raises(ConfigError, match=r"several values need -m: python train.py -m ") as caught:
        compose([value, "folds=5"])
    said = str(caught.value)
    assert said.startswith(f"{value.lstrip('+')}: ")
    assert "'" not in said.replace("'fold=range(0,3)'", "")


def test_the_line_with_m_is_shown() -> None:
    line = "python train.py -m fold=0,1"
    assert refused("fold=0,1") == f"Error: fold=0,1: several values need -m: {line}\n"


@pytest.mark.parametrize("key", ["optimizer.betas", "data.classes", "model.freeze", "data.subset"])
def test_a_list_without_its_brackets(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([f"{key}=a,b"])
    assert str(caught.value).endswith(f"\nA list has brackets: '{key}=[a,b]'")


@pytest.mark.parametrize(
    "override", ["model.freeze=[a,b]", "name=a,b", "data.root=/a,b", "model.args={a: 1, b: 2}"]
)
def test_commas_in_one_value(override: str) -> None:
    compose([override])


def test_a_job_is_named_as_it_was_typed() -> None:
    said = refused("-m", "fold=0,x", "model=resnet34")
    assert said.endswith("\n  in 1 of 2 jobs, the first: fold=x model.name=resnet34\n")


@pytest.mark.parametrize("line", [["model=resnet34", "-m", "fold=0,x"], ["-m", "fold=0,x", "model=resnet34"]])
def test_options_may_stand_anywhere(line: list[str]) -> None:
    assert "fold: expected" in refused(*line)


def test_a_folder_of_configurations_that_is_not_there_is_said(tmp_path: Path) -> None:
    said = refused("seed=1", "--config-dir", str(tmp_path / "nix"), "experiment=ours")
    assert f"--config-dir: expected a folder, found nothing at '{tmp_path}/nix'" in said
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ours.yaml").write_text("# @package _global_\nseed: 7\n")
    shown = run("-m", "emotion", "train", "experiment=ours", "--config-dir", str(tmp_path), "--cfg", "job")
    assert "seed: 7\n" in shown.stdout, shown.stderr


def test_python_m_emotion_is_the_command() -> None:
    done = run("-m", "emotion", "train", "--cfg", "job", "seed=3")
    assert done.returncode == 0, done.stderr
    assert "seed: 3\n" in done.stdout
    assert "Usage: " in run("-m", "emotion", "--help").stdout
    assert run("-m", "emotion", "report", "/no/such/run").returncode == 1
