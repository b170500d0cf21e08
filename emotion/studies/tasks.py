"""The runs that a study's rows ask for, and where they are kept. Imports no torch."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion import kept
from emotion.atomic import write_json
from emotion.errors import RunError
from emotion.runs import RunFolder, TableName
from emotion.studies.study import PROFILES, Profile, Row, Study, load

FORMAT = 1
ROW_FILE = "row.json"
_FULL: Profile = "full"


@dataclass(frozen=True)
class Task:
    """One run of a row: a seed and, where the row is cross-validated, a fold."""

    study: Study
    row: Row
    profile: Profile
    seed: int
    fold: int | None

    @property
    def name(self) -> str:
        return f"{self.row.name}-s{self.seed}{'' if self.fold is None else f'-f{self.fold}'}"

    @property
    def overrides(self) -> list[str]:
        """As typed behind train.py, without what belongs to a machine."""
        setting = self.study.profiles[self.profile]
        own = self.row.profiles.get(self.profile, [])
        found = [
            f"data={self.row.data}",
            *self.study.overrides,
            *(self.row.overrides or []),
            *setting.overrides,
            *own,
        ]
        found += [f"seed={self.seed}", f"name={self.row.name}"]
        if self.fold is not None:
            found += [f"fold={self.fold}", f"folds={_folds(self.study, self.row, self.profile)}"]
        return found

    @property
    def source(self) -> "Task | None":
        """The run whose weights this one needs: of the same seed, and of the same fold where it has folds."""
        name = self.row.init_from or (self.row.probe.row if self.row.probe else None)
        if name is None:
            return None
        row = self.study.row(name)
        return Task(self.study, row, self.profile, self.seed, self.fold if row.folds else None)

    @property
    def recipe(self) -> str:
        """A digest of all that was asked for, in whatever order: a row whose meaning is changed is run again."""
        asked = {
            "overrides": _values(self.overrides) if self.row.trained else {},
            "probe": self.row.probe.model_dump() if self.row.probe else None,
            "source": self.source.recipe if self.source else None,
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def scored(self) -> set[TableName]:
        """The parts that tables score: for this row, for those computed from its runs, and the official test part."""
        name = self.row.name
        rows = [row for row in self.study.rows if name in (row.name, row.runs_of, *row.ensemble)]
        return {"official_test", *(row.published.part for row in rows)}

    @property
    def command(self) -> str:
        return f"emotion study run {self.study.name} --profile {self.profile} --rows {self.row.name}"


def tasks_of(study: Study, row: Row, profile: Profile) -> list[Task]:
    """The runs of a row; none where it is computed from other rows' tables, or not run at all."""
    if row.probe is not None:
        return [
            Task(study, row, profile, task.seed, task.fold)
            for task in tasks_of(study, study.row(row.probe.row), profile)
        ]
    if not row.trained:
        return []
    folds: Sequence[int | None] = range(_folds(study, row, profile)) if row.folds else [None]
    return [Task(study, row, profile, seed, fold) for seed in study.profiles[profile].seeds for fold in folds]


def runs_needed(study: Study, row: Row, profile: Profile) -> int:
    """How many runs a row's numbers are computed from, other rows' included."""
    others = [*row.ensemble, *([row.runs_of] if row.runs_of else [])]
    return len(tasks_of(study, row, profile)) + sum(
        runs_needed(study, study.row(name), profile) for name in others
    )


def changed(study: Study, row: Row, profile: Profile) -> dict[str, tuple[str | None, str | None]]:
    """What `profile` does otherwise than `full` in a row and the rows it is computed from: key → (here, in full).

    None stands for a key's default. Seeds are left out: the number of runs is a column of its own.
    """
    found: dict[str, tuple[str | None, str | None]] = {}
    for name in row.needs:
        found |= changed(study, study.row(name), profile)
    if row.trained:
        here, full = (_values(tasks_of(study, row, one)[0].overrides) for one in (profile, _FULL))
        found |= {
            key: (here.get(key), full.get(key))
            for key in (*here, *(key for key in full if key not in here))
            if key != "seed" and here.get(key) != full.get(key)
        }
    return found


def _values(overrides: Sequence[str]) -> dict[str, str]:
    """The last value of each key, and the key."""
    return {key: value for key, _, value in (override.partition("=") for override in overrides)}


def _folds(study: Study, row: Row, profile: Profile) -> int:
    assert row.folds is not None
    return study.profiles[profile].folds or row.folds


@dataclass(frozen=True)
class Results:
    """Kept runs, in git and, where they are too large for it, beside.

    Attributes:
        committed: experiments/<study>/results.
        beside: a folder that isn't committed.
    """

    committed: Path
    beside: Path

    @classmethod
    def task_of(cls, kept: RunFolder) -> Task | None:
        """What a kept run is of; None where its study has no such row any more, or describes it otherwise.

        Raises:
            ConfigError: there is no such study.
            RunError: its file can't be read, or doesn't say of which study it is.
        """
        asked = cls._asked(kept.path)
        if "study" not in asked:
            raise RunError(
                f"expected {kept.file(ROW_FILE)} to say its study, found that it doesn't: another version has written "
                "it. Delete the folder, and the row is run again."
            )
        study = load(asked["study"])
        for row in study.rows:
            if row.name == asked["row"]:
                task = Task(study, row, asked["profile"], asked["seed"], asked["fold"])
                return task if task.recipe == asked["recipe"] else None
        return None

    def find(self, task: Task) -> RunFolder | None:
        """The kept run of a task, if there is one of the very same recipe.

        Another profile may have asked for it, unless it is of drawn faces.
        """
        drawn = {name for name, setting in task.study.profiles.items() if setting.drawn}
        others = () if task.profile in drawn else (name for name in PROFILES if name not in drawn)
        for profile in (task.profile, *others):
            for folder in (self.committed, self.beside):
                path = folder / profile / task.name
                if self._asked(path).get("recipe") == task.recipe:
                    return RunFolder(path)
        return None

    def minutes(self, task: Task) -> float | None:
        """What kept runs of this row and profile took on average, of whatever seed and fold; None: there are none."""
        found = [
            run.status.get("seconds", {}).get("total")
            for other in tasks_of(task.study, task.row, task.profile)
            if (run := self.find(other)) is not None
        ]
        known = [float(seconds) / 60 for seconds in found if seconds is not None]
        return sum(known) / len(known) if known else None

    def stale(self, task: Task) -> bool:
        """Whether a run is kept that was made by another recipe."""
        paths = [folder / task.profile / task.name for folder in (self.committed, self.beside)]
        return self.find(task) is None and any((path / ROW_FILE).is_file() for path in paths)

    def keep(self, task: Task, run: RunFolder) -> Path:
        """Copy a finished run's tables.

        Raises:
            RunError: it isn't finished.
        """
        try:
            committed = self.committed / task.profile / task.name
            path = kept.keep(run, committed, task.command, kept.LIMIT_BYTES, task.scored)
        except kept.TooLargeError:
            path = kept.keep(run, self.beside / task.profile / task.name, task.command, limit_bytes=None)
        asked = {
            "study": task.study.name,
            "profile": task.profile,
            "row": task.row.name,
            "seed": task.seed,
            "fold": task.fold,
            "recipe": task.recipe,
        }
        write_json(path / ROW_FILE, {"format": FORMAT, **asked})
        return path

    def of(self, study: Study, row: Row, profile: Profile) -> list[RunFolder]:
        """The kept runs of a row in the order of seeds and folds, if all that the profile asks for are there.

        None of an average that the profile has one run for.
        """
        found = list(self._of(study, row, profile))
        whole = len(found) == runs_needed(study, row, profile) and not (row.ensemble and len(found) < 2)
        return found if whole else []

    def some(self, study: Study, row: Row, profile: Profile) -> list[RunFolder]:
        """The kept runs of a row by the seeds that have one in each fold, though others are missing.

        Of an average at least two: each of its rows by the seeds that all of them have.
        """
        if row.ensemble:
            rows = [self.some(study, study.row(name), profile) for name in row.ensemble]
            seeds = set[int].intersection(*({run.config["seed"] for run in runs} for runs in rows))
            found = [run for runs in rows for run in runs if run.config["seed"] in seeds]
            return found if len(found) > 1 else []
        if row.runs_of is not None:
            return self.some(study, study.row(row.runs_of), profile)
        runs = list(self._of(study, row, profile))
        wanted = Counter(task.seed for task in tasks_of(study, row, profile))
        count = Counter(run.config["seed"] for run in runs)
        return [run for run in runs if count[run.config["seed"]] == wanted[run.config["seed"]]]

    def _of(self, study: Study, row: Row, profile: Profile) -> Iterator[RunFolder]:
        if row.runs_of is not None:
            yield from self._of(study, study.row(row.runs_of), profile)
        for name in row.ensemble:
            yield from self._of(study, study.row(name), profile)
        for task in tasks_of(study, row, profile):
            if (found := self.find(task)) is not None:
                yield found

    @staticmethod
    def _asked(path: Path) -> dict[str, Any]:
        """What a folder's run is of; empty where there is none, or of another format."""
        file = path / ROW_FILE
        if not file.is_file():
            return {}
        try:
            found = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file} can't be read ({error}): delete its folder, and the row is run again."
            ) from error
        if not isinstance(found, dict):
            raise RunError(f"{file} holds no keys and values: delete its folder, and the row is run again.")
        return found if found.get("format") == FORMAT else {}
