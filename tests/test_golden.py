"""Runs of every released format can be opened, reported on and predicted with, for ever."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import emotion
from emotion.errors import EmotionError
from emotion.evaluation import predictions
from emotion.evaluation.metrics import compute
from emotion.reporting.report import write_report
from emotion.runs import RunFolder

GOLDEN = sorted((Path(__file__).parent / "golden").glob("format-*"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    return RunFolder.open(shutil.copytree(request.param, tmp_path / request.param.name))


def test_there_is_one_and_each_is_small() -> None:
    assert GOLDEN
    for path in GOLDEN:
        assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) <= 200 * 1024


def test_it_predicts_what_it_predicted(golden: RunFolder) -> None:
    expected = np.load(golden.file("expected.npz"))
    found = emotion.load_run(golden.path).probabilities(list(expected["images"]))
    np.testing.assert_allclose(found, expected["probabilities"], atol=1e-4)
    assert np.ptp(found, axis=0).max() > 0.01  # it tells images apart


def test_its_metrics_follow_from_its_tables(golden: RunFolder) -> None:
    for part in ("val", "test"):
        table = predictions.read(golden.predictions(part))
        found = compute(table.labels, table.probabilities, table.classes)
        for name in ("accuracy", "balanced_accuracy", "f1_macro", "log_loss"):
            assert golden.metrics[part][name] == pytest.approx(found[name])


def test_it_is_reported_on(golden: RunFolder, tmp_path: Path) -> None:
    text = write_report([golden], tmp_path / "report.html").read_text()
    assert golden.status["hash8"] in text or golden.config["model"]["name"] in text
    assert f"{100 * golden.metrics['test']['accuracy']:.1f}" in text


@pytest.mark.parametrize("name", ["status.json", "metrics.json", "splits.json", "environment.json"])
def test_an_unknown_format_names_the_version_that_reads_it(golden: RunFolder, name: str) -> None:
    path, status = golden.file(name), golden.file("status.json")
    status.write_text(json.dumps({**golden.status, "version": "9.1"}))
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    said = rf"{name}: expected format 1, found format 99\. It needs emotion 9\.1 or a later one"
    with pytest.raises(EmotionError, match=said):
        getattr(RunFolder(golden.path), name.removesuffix(".json"))


def test_a_file_s_own_version_goes_before_its_run_s(golden: RunFolder) -> None:
    """A later version may have added the test part to a run."""
    golden.file("metrics.json").write_text('{"format": 99, "version": "9.2"}')
    with pytest.raises(EmotionError, match=r"It needs emotion 9\.2 or a later one"):
        _ = golden.metrics


def test_nothing_in_it_names_a_machine(golden: RunFolder) -> None:
    for file in golden.path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"/tmp/" not in content, file
            assert b"/home/" not in content, file
