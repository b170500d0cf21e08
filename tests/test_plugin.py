"""A package of another lab adds a data set, a network, a loss and a policy without touching ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The plugin as pip would install it: its package on the path, and its entry point in the metadata."""
    site = tmp_path_factory.mktemp("site")
    (site / "emotion_example").symlink_to(PLUGIN / "emotion_example")
    info = site / "emotion_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: emotion-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[emotion.plugins]\nexample = emotion_example.schema:register_all\n"
    )
    return {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip


def test_the_plugin_trains(environment: dict[str, str], tmp_path: Path) -> None:
    overrides = [
        *(
            "data=stripes",
            "data.count=80",
            "data.batch_size=8",
            "model=tinynet",
            "loss=poly",
            "loss.epsilon=0.5",
        ),
        *("augment=mirrored", "trainer.max_epochs=8", "optimizer.lr=0.02", "trainer.precision=fp32"),
        *("machine.devices=cpu", "machine.threads=1", "machine.workers=0"),
        *(f"machine.runs_dir={tmp_path}", f"machine.cache_dir={tmp_path}/cache"),
    ]
    code = f"""
import emotion, json
run = emotion.train({overrides!r})
print(json.dumps([run.name, run.metrics["test"]["accuracy"], emotion.load_run(run.path).classes]))
"""
    done = run(code, environment)
    assert done.returncode == 0, done.stderr
    name, accuracy, classes = json.loads(done.stdout.splitlines()[-1])
    assert name.startswith("stripes-tinynet-fx-")
    assert accuracy >= 0.9  # stripes are easy
    assert classes == ["happiness", "sadness"]


def test_its_keys_are_checked_before_torch_is_imported(environment: dict[str, str]) -> None:
    code = """
import sys
from emotion.errors import ConfigError
from emotion.launch import compose
try:
    compose(["loss=poly", "loss.epsilo=1", "model=tinynet", "model.pretrained=maybe"])
except ConfigError as error:
    print(error)
assert "torch" not in sys.modules
"""
    done = run(code, environment)
    assert done.returncode == 0, done.stderr
    assert "loss.epsilo: unknown key of loss=poly; did you mean epsilon?" in done.stdout
    assert "model.pretrained: expected true or false, found 'maybe'" in done.stdout


def test_a_plugin_of_another_version_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "lab.py").write_text("from emotion.schema import NoSuchSection\n")
    info = tmp_path / "lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emotion.plugins]\nlab = lab:register_all\n")
    code = "from emotion.launch import main; import sys; sys.argv[1:] = ['--cfg', 'job']; main()"
    done = run(code, {**environment, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert (
        "the plugin lab (lab:register_all) can't be imported: cannot import name 'NoSuchSection'"
        in done.stderr
    )


def test_without_the_plugin_its_names_are_unknown() -> None:
    done = run("import emotion; emotion.train(['loss=poly', 'data=stripes'])", dict(os.environ))
    assert done.returncode != 0
    assert "loss.name: expected one of" in done.stderr
    assert "data.name: expected one of" in done.stderr
