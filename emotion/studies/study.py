"""A study's file `experiments/<study>/study.yaml`: its rows, what was published of them, and its profiles. No torch."""

from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from emotion.errors import ConfigError
from emotion.launch import compose, conf_dir

FILE = "study.yaml"
COMMANDS = ("list", "run", "table")
SHORT_LIMIT_MIN = 20
_TAKEN_OVER = ("data", "folds", "init_from", "profiles", "minutes")

Profile = Literal["full", "short", "smoke"]
PROFILES: tuple[Profile, ...] = ("full", "short", "smoke")
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Names = Annotated[list[Name], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassScores(_Strict):
    """A class as published; None where the report doesn't say."""

    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None
    support: PositiveInt | None = None


class Counts(_Strict):
    """A published confusion matrix: rows are the true classes, columns the predicted ones."""

    rows: list[str]
    columns: list[str]
    counts: list[list[Annotated[int, Field(ge=0)]]]

    @model_validator(mode="after")
    def _fits(self) -> "Counts":
        if len(self.counts) != len(self.rows) or any(len(row) != len(self.columns) for row in self.counts):
            raise ValueError(f"expected {len(self.rows)} rows of {len(self.columns)} counts")
        if unknown := set(self.columns) - set(self.rows):
            raise ValueError(f"expected columns that are rows too, found {', '.join(sorted(unknown))}")
        return self


class Published(_Strict):
    """What the report says of a row.

    Attributes:
        n: images that the scores were measured on.
        part: which of our parts is held against it.
        metrics: further scores by our names.
        classes: scores of each class.
        averages: of the classes' scores: macro, or weighted by their images.
        trainable: weights that are not frozen.
    """

    accuracy: Share | None = None
    n: PositiveInt | None = None
    part: Literal["val", "test"] = "test"
    metrics: dict[Literal["balanced_accuracy", "f1_macro", "log_loss"], float] = Field(default_factory=dict)
    classes: dict[str, ClassScores] = Field(default_factory=dict)
    averages: dict[Literal["macro", "weighted"], ClassScores] = Field(default_factory=dict)
    confusion: Counts | None = None
    parameters: PositiveInt | None = None
    trainable: PositiveInt | None = None
    file_mb: float | None = None
    train_min: float | None = None

    @model_validator(mode="after")
    def _has_its_n(self) -> "Published":
        if self.accuracy is not None and self.n is None:
            raise ValueError("expected n beside accuracy: without it the number has no sampling error")
        return self


class Probe(_Strict):
    """A classical classifier on a row's features."""

    row: Name
    head: Literal["svm", "logistic"]


class Minutes(_Strict):
    """An estimate, by hand, of what a run of the row takes on two cores. What a kept run took goes before it."""

    full: float
    short: Annotated[float, Field(le=SHORT_LIMIT_MIN)]


class Row(_Strict):
    """A system of the report, or a variant of ours beside it.

    Exactly one of `overrides`, `runs_of`, `ensemble`, `probe` and `not_run` says what it is.

    Attributes:
        title: as the report calls it.
        like: a row above that this one begins as: its data, folds, init_from, minutes, overrides and profiles hold
            where this row doesn't say otherwise, the last two key by key.
        data: the data set, as in `data=…`.
        overrides: behind the study's own, as typed behind train.py.
        profiles: further overrides of one profile.
        folds: cross-validate by so many folds; None: one run a seed.
        init_from: the row whose best weights this one starts from.
        runs_of: the row whose runs are scored on another part.
        ensemble: the rows whose runs' probabilities are averaged.
        not_run: why there is nothing to run: people were asked, not a network.
        against: the rows that this one is to be better than: a step before it, plain training.
        flaw: the report's mistake that the row repeats; `honest` then names the row without it.
        differs: what keeps the row from being held against the published number.
        notes: what a reader has to know.
    """

    name: Name
    title: str
    like: Name | None = None
    data: str | None = None
    overrides: list[str] | None = None
    profiles: dict[Profile, list[str]] = Field(default_factory=dict)
    folds: Annotated[int, Field(ge=2)] | None = None
    init_from: Name | None = None
    runs_of: Name | None = None
    ensemble: list[Name] = Field(default_factory=list)
    probe: Probe | None = None
    not_run: str | None = None
    minutes: Minutes | None = None
    against: Names = Field(default_factory=list)
    flaw: Literal["leaky", "as_published"] | None = None
    honest: Name | None = None
    differs: str | None = None
    published: Published = Published()
    notes: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Row":
        given = ("overrides", "runs_of", "ensemble", "probe", "not_run")
        found_kinds = [key for key in given if getattr(self, key) not in (None, [])]
        if len(found_kinds) + (self.overrides == []) != 1:
            raise ValueError(
                f"{self.name}: expected one of {', '.join(given)}, found {', '.join(found_kinds) or 'none'}"
            )
        if self.trained and (self.data is None or self.minutes is None):
            raise ValueError(f"{self.name}: expected data and minutes for a row that is trained")
        flaws = {"data.protocol=leaky": "leaky", "preprocess.as_published=true": "as_published"}
        found = {flaws[o] for o in self.overrides or () if o in flaws}
        if found and self.flaw not in found:
            raise ValueError(f"{self.name}: expected flaw: {found.pop()}, which its overrides ask for")
        if (self.flaw is None) != (self.honest is None):
            raise ValueError(f"{self.name}: expected flaw and honest together: the row without the mistake")
        return self

    @property
    def trained(self) -> bool:
        return self.overrides is not None

    @property
    def needs(self) -> tuple[str, ...]:
        """The rows that have to be finished before this one."""
        named = [self.init_from, self.runs_of, self.probe.row if self.probe else None, *self.ensemble]
        return tuple(name for name in named if name)


class Setting(_Strict):
    """A profile.

    Attributes:
        overrides: of every row, before the row's own.
        seeds: each row is run with each.
        folds: in place of the rows' own number, for rows that have folds.
        drawn: pictures that are drawn in each data set's layout; None: the real data is asked for.
    """

    about: str
    overrides: list[str] = Field(default_factory=list)
    seeds: list[int] = Field(min_length=1)
    folds: Annotated[int, Field(ge=2)] | None = None
    drawn: PositiveInt | None = None


class Study(_Strict):
    """A whole file.

    Attributes:
        report: who wrote it, what it is called.
        overrides: of every row.
        cannot_support: what the report's own numbers can't support.
    """

    name: Name
    title: str
    report: str
    about: str
    overrides: list[str] = Field(default_factory=list)
    profiles: dict[Profile, Setting]
    rows: list[Row]
    cannot_support: list[str] = Field(min_length=1)
    notes: list[str] = Field(default_factory=list)

    @field_validator("rows", mode="before")
    @classmethod
    def _like(cls, rows: Any) -> Any:
        """The rows with what they take over written out; what is wrong in itself is left for its own check."""
        if not isinstance(rows, list):
            return rows
        found: list[Any] = []
        for row in rows:
            if isinstance(row, dict) and "like" in row:
                above = [one for one in found if isinstance(one, dict) and one.get("name") == row["like"]]
                if not above or not _are_texts(above[0].get("overrides")):
                    said = "expected like: to name a row above that has overrides"
                    raise ValueError(f"{row.get('name')}: {said}, found {row['like']!r}")
                if _are_texts(row.get("overrides", [])):
                    row = _written_out(row, above[0])
            found.append(row)
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> "Study":
        if self.name in COMMANDS:
            raise ValueError(f"no study may be called {', '.join(COMMANDS)}")
        if set(self.profiles) != set(PROFILES):
            raise ValueError(f"expected the profiles {', '.join(PROFILES)}, found {', '.join(self.profiles)}")
        for profile, setting in self.profiles.items():
            if setting.folds and not any(row.folds for row in self.rows):
                raise ValueError(f"{profile}: expected no folds where no row has any, found {setting.folds}")
        names = [row.name for row in self.rows]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"expected each row once, found {twice[0]} {names.count(twice[0])} times")
        for row in self.rows:
            for name in (*row.needs, *row.against, *([row.honest] if row.honest else [])):
                if name not in names:
                    raise ValueError(f"{row.name}: expected a row of this study, found {name!r}")
        try:
            self.ordered()
        except CycleError as error:
            raise ValueError(f"rows start from each other in a circle: {error.args[1]}") from error
        return self

    def row(self, name: str) -> Row:
        """
        Raises:
            ConfigError: there is none of this name.
        """
        for row in self.rows:
            if row.name == name:
                return row
        known = ", ".join(row.name for row in self.rows)
        raise ConfigError(f"expected a row of {self.name} ({known}), found {name!r}.")

    def with_seeds(self, profile: Profile, seeds: Sequence[int]) -> "Study":
        """This study with only these of a profile's seeds.

        Raises:
            ConfigError: the profile doesn't have them.
        """
        setting = self.profiles[profile]
        if not seeds or not set(seeds) <= set(setting.seeds):
            known = ", ".join(map(str, setting.seeds))
            raise ConfigError(
                f"expected some of profile {profile}'s seeds ({known}), found {', '.join(map(str, seeds))}."
            )
        fewer = setting.model_copy(update={"seeds": [seed for seed in setting.seeds if seed in seeds]})
        return self.model_copy(update={"profiles": {**self.profiles, profile: fewer}})

    def ordered(self, names: tuple[str, ...] | None = None) -> list[list[Row]]:
        """The rows (of `names`, with what they need) in stages: whatever a stage needs is in those before it."""
        wanted: set[str] = set()
        todo = list(names if names is not None else [row.name for row in self.rows])
        while todo:
            row = self.row(todo.pop())
            if row.name not in wanted:
                wanted.add(row.name)
                todo += row.needs
        sorter = TopologicalSorter({name: self.row(name).needs for name in wanted})
        sorter.prepare()
        stages = []
        while sorter.is_active():
            ready = set(sorter.get_ready())
            stages.append([row for row in self.rows if row.name in ready])
            sorter.done(*ready)
        return stages


def _written_out(row: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """A row behind the one that it begins as."""
    taken: dict[str, Any] = {key: base[key] for key in _TAKEN_OVER if key in base}
    here, there = row.get("profiles", {}), base.get("profiles", {})
    if not all(isinstance(one, dict) and all(map(_are_texts, one.values())) for one in (here, there)):
        return {**taken, **row}  # its own check says what is wrong
    profiles = {name: _over(there.get(name, []), here.get(name, [])) for name in (*there, *here)}
    return {
        **taken,
        **row,
        "overrides": _over(base["overrides"], row.get("overrides", [])),
        "profiles": profiles,
    }


def _over(below: Sequence[str], above: Sequence[str]) -> list[str]:
    return list((_by_key(below) | _by_key(above)).values())


def _are_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def _by_key(overrides: Sequence[str]) -> dict[str, str]:
    return {override.partition("=")[0]: override for override in overrides}


def experiments_dir() -> Path:
    """The folder of studies: beside the package in a checkout, inside it in an installed wheel."""
    return conf_dir().parent / "experiments"


def study_names() -> list[str]:
    return sorted(path.parent.name for path in experiments_dir().glob(f"*/{FILE}"))


@cache
def network_of(choice: str) -> str:
    """The network that `model=…` chooses, by the name that its weights go by."""
    return compose([choice]).model.name


@cache
def load(name: str) -> Study:
    """The study of this name.

    Raises:
        ConfigError: there is none, or its file has problems, which are all listed.
    """
    if name not in study_names():
        raise ConfigError(f"expected a study ({', '.join(study_names())}), found {name!r}.")
    path = experiments_dir() / name / FILE
    study = parse(path.read_text(), str(path))
    if study.name != name:
        raise ConfigError(f"{path}: expected name: {name}, as its folder is called, found {study.name!r}.")
    return study


def parse(text: str, where: str) -> Study:
    """A study from the text of its file.

    Raises:
        ConfigError: every problem, with the place where it is.
    """
    try:
        return Study.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} can't be read: {error}") from error
    except ValidationError as error:
        raise ConfigError("\n  ".join([f"{where} has problems:", *_problems(error)])) from error


def _problems(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        place: Any = ".".join(str(part) for part in item["loc"])
        yield f"{place}: {item['msg'].removeprefix('Value error, ')}"
