"""The benchmarks run; what they measure is for whoever reads them, not for a test."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_evaluation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("evaluation")
    monkeypatch.setattr(module, "open_in_browser", lambda report, repeats: None)
    module.main(["--repeats", "1", "--resamples", "50", "--runs", "2"])
    said = capsys.readouterr().out
    assert re.search(
        r"^50 resamples of 3,589 × 7, \d\d metrics: \d+\.\d\d s, processor \d+\.\d\d s$", said, re.MULTILINE
    )
    assert re.search(r"^its size: 0\.\d\d MB$", said, re.MULTILINE)
