"""The run folder: what lies where, and reading it. Writing is the business of `emotion.training`."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import yaml

from emotion import formats
from emotion.errors import RunError

FORMAT = 1
JOBS = "jobs.json"  # what a sweep's folder has and a run's hasn't

TableName = Literal["val", "test", "official_test", "val_last"]  # of predictions in a run folder
SCORED: tuple[TableName, ...] = ("val", "test", "official_test")  # those that metrics.json has


@dataclass(frozen=True)
class RunFolder:
    """A finished, running or broken run on disk. A property reads its file whenever it is asked for.

    Raises:
        RunError: a file is missing, half-written or of an unknown format; raised on access, not on construction.
    """

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """The run in `path`.

        Raises:
            RunError: there is no run, or a sweep.
        """
        run = cls(Path(path).expanduser().resolve())
        if run.path.is_file():
            raise RunError(
                f"expected a run folder, found a file: {run.path}. `emotion runs list` shows your runs."
            )
        if not run.path.is_dir():
            raise RunError(
                f"expected a run folder, found nothing at {run.path}. `emotion runs list` shows your runs."
            )
        if is_sweep(run.path):
            raise RunError(
                f"expected a run folder, found a sweep: {run.path}. `emotion sweep table {run.path}` shows its scores."
            )
        if not run.file("status.json").is_file():
            raise RunError(
                f"expected a run folder (with status.json and config.yaml), found none in {run.path}."
            )
        return run

    @property
    def name(self) -> str:
        return self.path.name

    def file(self, name: str) -> Path:
        return self.path / name

    def predictions(self, part: TableName) -> Path:
        return self.path / "predictions" / f"{part}.parquet"

    def snapshot_weights(self, number: int) -> Path:
        """The weights at the end of a cycle of `schedule=cyclic_cosine`, counted from 1; written as `best.ckpt` is."""
        return self.path / "checkpoints" / f"snapshot_{number}.ckpt"

    def snapshot_predictions(self, number: int, part: TableName) -> Path:
        return self.path / "predictions" / f"snapshot_{number}" / f"{part}.parquet"

    def snapshots(self, part: TableName) -> list[Path]:
        """The prediction tables of a part by the snapshots of a run, in the order of cycles."""
        found: list[Path] = []
        while (path := self.snapshot_predictions(len(found) + 1, part)).is_file():
            found.append(path)
        return found

    def checkpoint(self, which: Literal["best", "last"]) -> Path:
        return self.path / "checkpoints" / f"{which}.ckpt"

    def has(self, part: TableName) -> bool:
        return self.predictions(part).is_file()

    @property
    def config(self) -> dict[str, Any]:
        try:
            found = yaml.safe_load(self._text("config.yaml"))
        except yaml.YAMLError as error:
            raise RunError(f"{self.file('config.yaml')} can't be read: {error}") from error
        if not isinstance(found, dict):
            raise RunError(f"{self.file('config.yaml')} holds no keys and values.")
        return found

    @property
    def status(self) -> dict[str, Any]:
        found = self._json("status.json")
        if "state" not in found:
            raise RunError(f"{self.file('status.json')} tells no state: the run is half-written or not ours.")
        return found

    @property
    def environment(self) -> dict[str, Any]:
        return self._json("environment.json")

    @property
    def splits(self) -> dict[str, Any]:
        return self._json("splits.json")

    @property
    def metrics(self) -> dict[str, Any]:
        return self._json("metrics.json")

    @property
    def confusions(self) -> list[list[list[int]]]:
        """(K, K) counts on the validation part after each epoch, true classes in rows; [] for a run without."""
        return self._json("confusions.json")["val"] if self.file("confusions.json").is_file() else []

    @property
    def finished(self) -> bool:
        return self.status.get("state") == "finished"

    @property
    def derived(self) -> bool:
        """Whether no training made it: an ensemble, or a classifier on another run's features."""
        return self.file("derived.json").is_file()

    @property
    def whole(self) -> bool:
        """Finished, and not killed in the moments after."""
        return self.finished and self.file("report.html").is_file() and not self.checkpoint("last").exists()

    @property
    def tested(self) -> bool:
        """Whether the test part is scored, and that is noted in metrics.json."""
        return self.has("test") and "test" in self.metrics

    def require_weights(self) -> Path:
        """`best.ckpt`.

        Raises:
            RunError: it isn't there; the text says how it is made.
        """
        best = self.checkpoint("best")
        if best.is_file():
            return best
        if self.derived:
            why = "and never had any: it is made of other runs' predictions or features."
        elif not self.finished:
            why = f"yet (its state is {self.status['state']}). The command that began it continues it."
        elif "command" not in self.environment:
            why = "and never had any: it holds a person's answers."
        else:  # git keeps none
            why = f"here. Its command trains it again: {self.again}"
        raise RunError(f"expected a run with its weights, found that {self.path} has none {why}")

    @property
    def again(self) -> str:
        """The line that trains a finished run again."""
        command = typed_line(self.environment["command"])
        words = shlex.split(command)
        if Path(words[0]).name != "emotion" or words[1:2] != ["study"]:
            return f"{command} force=true"
        data, model = self.config["data"], self.config["model"]
        weights = f" --weights {model['name']}=FILE" if model["weights"] else ""
        return f"{command} --again --data-root {data['name']}=DIR{weights}"

    def history(self) -> pl.DataFrame:
        """One row an epoch, as in metrics.csv."""
        path = self.file("metrics.csv")
        if not path.is_file():
            raise RunError(f"{path} is not there: the first epoch that ends makes it.")
        try:
            return pl.read_csv(path, glob=False)
        except pl.exceptions.PolarsError as error:
            raise RunError(f"{path} is not whole: {error}.") from error

    def _text(self, name: str) -> str:
        path = self.file(name)
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise RunError(f"{path} can't be read ({said}): the run is half-written or not ours.") from error

    def _json(self, name: str) -> dict[str, Any]:
        try:
            data = json.loads(self._text(name))
        except json.JSONDecodeError as error:
            raise RunError(f"{self.file(name)} is not whole: {error}.") from error
        content: dict[str, Any] = data if isinstance(data, dict) else {}
        if content.get("format") != FORMAT:
            # it speaks for the files that don't name a version
            status = content if name == "status.json" else self.status
            formats.require(self.file(name), content, FORMAT, status.get("version"))
        return content


def typed_line(command: str) -> str:
    """A run's command as a terminal takes it: of `python train.py …`, `sys.argv` has no first word.

    >>> typed_line("train.py seed=1")
    'python train.py seed=1'
    """
    return f"python {command}" if command.split(" ")[0].endswith(".py") else command


def is_sweep(path: Path) -> bool:
    """Whether a folder is a sweep's."""
    return (path / JOBS).is_file()


def find(runs_dir: Path) -> list[RunFolder]:
    """The runs in a folder, whatever their names, newest first; without `latest`, which is one of them, and sweeps."""
    if not runs_dir.is_dir():
        return []
    found = [RunFolder(p) for p in runs_dir.iterdir() if p.name != "latest" and not p.is_symlink()]
    runs = (r for r in found if r.file("status.json").is_file() and not is_sweep(r.path))
    return sorted(runs, key=_last_written, reverse=True)


def _last_written(run: RunFolder) -> float:
    return run.file("status.json").stat().st_mtime
