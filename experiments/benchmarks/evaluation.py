"""How long the statistics of a FER2013-sized table take, and how heavy a report of many runs is.

    OMP_NUM_THREADS=1 python experiments/benchmarks/evaluation.py

Goals: 10,000 bootstrap resamples of 3,589 × 7 probabilities for all metrics in 3 s on one core; a report of 30 runs
weighs 15 MB or less and opens in 2 s. What is measured is printed, the median of several with the smallest and the
largest.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from emotion.evaluation import predictions
from emotion.evaluation.intervals import RESAMPLES, bootstrap, estimate, units_of
from emotion.evaluation.metrics import Evaluator
from emotion.reporting.report import write_report
from emotion.runs import RunFolder, TableName

KEPT = Path(__file__).resolve().parents[1] / "first_light" / "results"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")  # fmt: skip
PARTS: tuple[TableName, ...] = ("val", "test")
EPOCHS = 100


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap (10,000)")
    parser.add_argument("--runs", type=int, default=30, help="in the report (30)")
    chosen = parser.parse_args(arguments)
    kept = sorted(path for path in KEPT.iterdir() if path.is_dir())

    table = predictions.read(RunFolder(kept[0]).predictions("test"))
    units = units_of(table.labels, table.groups)
    evaluate = Evaluator(table.labels, table.probabilities, table.classes, dtype=np.float32)
    what = f"{chosen.resamples:,} resamples of {len(table):,} × {len(table.classes)}, {len(evaluate.names)} metrics"
    with one_core():
        say_seconds(
            what,
            timed(lambda: bootstrap([evaluate], units, resamples=chosen.resamples), chosen.repeats),
        )
        say_seconds(
            "the same with every interval",
            timed(lambda: estimate(table, resamples=chosen.resamples), chosen.repeats),
        )

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runs = [varied(kept[seed % len(kept)], folder / "runs", seed) for seed in range(chosen.runs)]
        report = folder / "report.html"
        say_seconds(
            f"making a report of {len(runs)} runs", timed(lambda: write_report(runs, report, noise), 1)
        )
        print(f"its size: {report.stat().st_size / 1e6:.2f} MB", flush=True)
        open_in_browser(report, chosen.repeats)


def open_in_browser(report: Path, repeats: int) -> None:
    """Time until Chromium has started, loaded the page, run its script and written the result; and of an empty page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("opening it: Chromium is not installed")
        return
    empty = report.with_name("empty.html")
    empty.write_text("<!doctype html><title>empty</title>")
    for page, what in (
        (empty, "opening an empty page in Chromium"),
        (report, "opening the report, with that"),
    ):
        command = [
            browser,
            *QUIET,
            f"--user-data-dir={report.parent / 'profile'}",
            "--dump-dom",
            f"file://{page}",
        ]

        def load(command: Sequence[str] = command) -> None:
            subprocess.run(command, check=True, capture_output=True, timeout=120)

        load()
        say_seconds(what, timed(load, repeats))


def varied(source: Path, runs_dir: Path, seed: int) -> RunFolder:
    """A copy of a run with another seed, a history of `EPOCHS` epochs and slightly other predictions."""
    folder = runs_dir / f"{source.name.rsplit('-', 1)[0]}-{seed:08x}"
    shutil.copytree(source, folder)
    run = RunFolder(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump({**run.config, "seed": seed}, sort_keys=False))
    rng = np.random.default_rng(seed)
    for part in PARTS:
        table = predictions.read(run.predictions(part))
        noisy = table.probabilities * np.exp(0.3 * rng.normal(size=table.probabilities.shape))
        noisy /= noisy.sum(axis=1, keepdims=True)
        predictions.write(run.predictions(part), table.with_probabilities(noisy).with_meta(run=folder.name))
    rising = 0.6 - 0.4 * np.exp(-np.arange(EPOCHS) / 20) + 0.01 * rng.normal(size=EPOCHS)
    history = {"epoch": np.arange(EPOCHS), "val/accuracy": rising, "val/loss": 2 - 1.5 * rising}
    pl.DataFrame(history).write_csv(folder / "metrics.csv")
    return RunFolder(folder)


def noise(run: RunFolder, ids: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Pictures for the galleries that compress worse than faces do, and don't repeat from run to run."""
    seed = int(run.name.rsplit("-", 1)[1], 16)
    return {
        name: np.random.default_rng([seed, row]).integers(0, 255, (48, 48), np.uint8)
        for row, name in enumerate(ids)
    }


@contextmanager
def one_core() -> Iterator[None]:
    """One processor core for this process, where the system can say so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def timed(call: Callable[[], Any], repeats: int) -> list[tuple[float, float]]:
    """Seconds by the clock and of processor time, this process's and its children's, for each call."""
    seconds = []
    for _ in range(repeats):
        clock, processor = time.perf_counter(), sum(os.times()[:4])
        call()
        seconds.append((time.perf_counter() - clock, sum(os.times()[:4]) - processor))
    return seconds


def say_seconds(what: str, seconds: Sequence[tuple[float, float]]) -> None:
    """Where other programs want the processor too, its own time tells more than the clock."""
    clock, processor = zip(*seconds, strict=True)
    spread = f" ({min(clock):.2f} to {max(clock):.2f}, {len(clock)} times)" if len(clock) > 1 else ""
    own = statistics.median(processor)
    print(f"{what}: {statistics.median(clock):.2f} s{spread}, processor {own:.2f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
