"""Sweeps: what a job costs beyond its own training, and several jobs on one GPU."""

import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from emotion.runs import RunFolder

from . import material
from .bench import NO_GPU, Bench, drawn, has_gpu, recipe
from .processes import ROOT, Command
from .side_by_side import Comparison, Measured, NotMeasuredError, Unmeasured

FOLD_IMAGES, FOLD_EPOCHS = 20_000, 10


@dataclass
class Jobs:
    """Small runs as a sweep or one after the other; the value is what each costs beyond its own training.

    Args:
        together: `train.py -m` instead of a command a run.
        again: type the finished sweep once more: what skipping a job costs.
    """

    name: str
    bench: Bench
    jobs: int
    together: bool
    again: bool = False
    _round: int = field(default=0, init=False)

    def measure(self) -> Measured:
        self._round += 1
        folder = self.bench.work / f"sweep-{self.name.replace(' ', '-')}-{self._round}"
        folder.mkdir(parents=True)
        common = [*drawn(400, 48), *recipe("test_resnet", 16), "trainer.max_epochs=1", "trainer.precision=fp32",
                  f"machine.runs_dir={folder}/runs"]  # fmt: skip
        seeds = [str(seed) for seed in range(self.jobs)]
        lines = [[f"seed={','.join(seeds)}"]] if self.together else [[f"seed={seed}"] for seed in seeds]
        if self.again:
            self._run(folder, [*common, *lines[0]])
        started = time.perf_counter()
        for line in lines:
            self._run(folder, [*common, *line])
        seconds = time.perf_counter() - started
        runs = [RunFolder(path.parent) for path in sorted((folder / "runs").glob("drawn-*/status.json"))]
        if len(runs) != self.jobs:
            raise NotMeasuredError(f"failed: {len(runs)} of {self.jobs} runs are there")
        trained = 0.0 if self.again else sum(run.status["seconds"]["total"] for run in runs)
        shutil.rmtree(folder)
        return {"value": (seconds - trained) / self.jobs, "s in all": seconds}

    def _run(self, folder: Path, overrides: list[str]) -> None:
        train = [sys.executable, str(ROOT / "train.py"), *(["-m"] if self.together else [])]
        Command(self.name, [*train, *overrides], folder / "log.txt").measure()

    def close(self) -> None:
        pass


def measure(bench: Bench) -> list[Comparison]:
    """What a job of a sweep costs beyond its own seconds."""
    jobs = 2 if bench.quick else 8
    material.folders(drawn(400, 48))  # prepares
    candidates = [
        Jobs("a sweep", bench, jobs, together=True),
        Jobs("a command a run", bench, jobs, together=False),
        Jobs("a finished sweep again", bench, jobs, together=True, again=True),
    ]
    rows = bench.measure(candidates, min(bench.rounds, 3))
    work = f"{jobs} runs of one epoch of 320 drawn faces; each run's own seconds, from lock to report, are taken off"
    *done, again = rows
    return [
        Comparison("Overhead a job", work, "s a job", "lower", done, ("a sweep",)),
        Comparison("Skipping a finished job", f"the same {jobs} runs", "s a job", "lower", [again]),
        _four_folds(bench),
    ]


def _four_folds(bench: Bench) -> Comparison:
    """Several small jobs on one GPU."""
    names = ("one fold", "four folds at once")
    if not has_gpu():
        rows = bench.measure([Unmeasured(name, NO_GPU) for name in names])
    else:
        rows = bench.measure([Folds(names[0], bench, 1), Folds(names[1], bench, 4)], min(bench.rounds, 3))
    work = (
        f"minivgg, {FOLD_EPOCHS} epochs of {FOLD_IMAGES:,} drawn faces, batches of 128, from the command to the "
        "report: train.py -m fold=… with machine.jobs on one GPU"
    )
    goals: dict[str, tuple[float | None, ...]] = {names[0]: (1 / 1.6,)}
    return Comparison("Four folds on one GPU", work, "s", "lower", rows, (names[1],), goals)


@dataclass
class Folds:
    """A sweep over `count` folds at once on the first GPU."""

    name: str
    bench: Bench
    count: int
    _round: int = field(default=0, init=False)

    def measure(self) -> Measured:
        self._round += 1
        folder = self.bench.work / f"folds-{self.count}-{self._round}"
        folder.mkdir(parents=True)
        images, epochs = (400, 1) if self.bench.quick else (FOLD_IMAGES, FOLD_EPOCHS)
        line = [
            *(sys.executable, str(ROOT / "train.py"), "-m"),
            *drawn(images, 48),
            *recipe("minivgg", 128, "0"),
            f"trainer.max_epochs={epochs}",
            f"fold={','.join(map(str, range(self.count)))}",
            f"machine.jobs={self.count}",
            f"machine.runs_dir={folder}/runs",
        ]
        started = time.perf_counter()
        Command(self.name, line, folder / "log.txt").measure()
        return {"value": time.perf_counter() - started}

    def close(self) -> None:
        pass
