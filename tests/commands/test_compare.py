"""`emotion compare` as it is typed: its formats say the same."""

import io
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from emotion.cli import app
from emotion.runs import RunFolder
from tests.reporting import fakes


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        fakes.make_run(folder, count=400, skill=skill, config={"model.name": name})
        for name, skill in (("small_net", 0.6), ("large_net", 1.6))
    ]


def said(runs: list[RunFolder], *options: str) -> str:
    done = CliRunner().invoke(
        app, ["compare", *[str(run.path) for run in runs], *options], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_format_tells_the_same_numbers(runs: list[RunFolder]) -> None:
    frame = pl.read_csv(io.StringIO(said(runs, "--format", "csv")))
    assert frame["run"].to_list() == ["large_net", "small_net"]
    assert frame["letters"].to_list() == ["a", "b"]
    lines = {
        "text": said(runs).splitlines(),
        "markdown": said(runs, "--format", "markdown").splitlines(),
        "latex": said(runs, "--format", "latex").splitlines(),
    }
    for form, name in (("text", r"{}_net "), ("markdown", r"| {}\_net |"), ("latex", r"{}\_net &")):
        for row in frame.iter_rows(named=True):
            start = name.format(row["run"].removesuffix("_net"))
            (line,) = [line for line in lines[form] if line.startswith(start) and "better" not in line]
            shown = [float(text) for text in re.findall(r"\d+\.\d+", line)]
            expected = [100 * row[key] for key in ("value", "low", "high", "balanced_accuracy", "f1_macro")]
            assert shown == pytest.approx([*expected, row["log_loss"]], abs=0.0501)
    for text in (said(runs), said(runs, "--format", "markdown").replace("\\", "")):
        assert "large_net is better than small_net on these 400 images: accuracy" in text
    assert r"large\_net is better than small\_net" in said(runs, "--format", "latex")
    assert r"\toprule" in said(runs, "--format", "latex")


def test_a_lower_loss_comes_first_and_the_test_part_is_asked_for(runs: list[RunFolder]) -> None:
    assert "on 400 validation images" in said(runs)
    by_loss = said(runs, "--metric", "log_loss", "--test")
    assert "Ranked by log loss on 400 test images" in by_loss
    losses = [float(text) for text in re.findall(r"_net +(\d\.\d+)", by_loss)]
    assert len(losses) == 2
    assert losses == sorted(losses)


def test_tables_alone_by_the_suffix_of_the_file(runs: list[RunFolder], tmp_path: Path) -> None:
    for suffix, mark in ((".md", "|:---|"), (".tex", r"\begin{tabular}"), (".html", "<!doctype html>")):
        out = tmp_path / f"r{suffix}"
        done = CliRunner().invoke(app, ["report", str(runs[0].path), str(runs[1].path), "-o", str(out)])
        assert done.stdout.strip() == str(out)
        assert mark in out.read_text()
    plain = out.read_text()
    CliRunner().invoke(app, ["report", str(runs[0].path), str(runs[1].path), "--test", "-o", str(out)])
    assert "Test accuracy" in out.read_text()
    assert "Test accuracy" not in plain


def test_comparing_imports_no_torch(runs: list[RunFolder]) -> None:
    code = (
        "import sys; from emotion.cli import app; "
        f"app(['compare', {str(runs[0].path)!r}, {str(runs[1].path)!r}], standalone_mode=False); "
        "print([name for name in ('torch', 'matplotlib', 'pytorch_lightning') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
