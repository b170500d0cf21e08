"""`emotion study run`: what is missing of a study, through the queue, stage by stage, kept as it finishes."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from emotion.data import mimic
from emotion.errors import ConfigError, EmotionError, RunError
from emotion.launch import compose
from emotion.reporting import numbers
from emotion.runs import RunFolder
from emotion.schema import RunConfig
from emotion.studies.study import Profile, Row, Study
from emotion.studies.tasks import Results, Task, runs_needed, tasks_of
from emotion.training.jobs import Job, Wanted, prepared
from emotion.training.queue import Queue, slots, state_of

State = Literal["all", "some", "none"]
_LOST: dict[State, str] = {
    "all": "measured, but its weights can't be made again",
    "some": "some of its runs not measured",
    "none": "not measured",
}
_LACKING: dict[State, str] = {
    "all": "whose weights can't be made again",
    "some": "of which runs are missing",
    "none": "which is not measured",
}


@dataclass(frozen=True)
class Place:
    """What belongs to this machine.

    Attributes:
        roots: the folder of each data set's download.
        weights: a file of weights for each network, in place of the published ones.
        machine: overrides of the group `machine`.
        work: where drawn data and probes lie.
    """

    roots: Mapping[str, Path] = field(default_factory=dict)
    weights: Mapping[str, Path] = field(default_factory=dict)
    machine: Sequence[str] = ()
    work: Path = Path("studies")


class StudyRun:
    """Runs a study's missing rows.

    Args:
        again: rows of which only the tables are kept too, for their weights.

    Attributes:
        unmeasured: why a row is not measured, by its name.
    """

    def __init__(
        self, study: Study, profile: Profile, results: Results, place: Place, again: bool = False
    ) -> None:
        self.study, self.profile, self.results, self.place, self.again = study, profile, results, place, again
        self.unmeasured: dict[str, str] = {}
        self._jobs: dict[str, Job] = {}
        self._told: set[str] = set()
        self._configs: dict[str, RunConfig] = {}

    def run(self, rows: tuple[str, ...] | None = None) -> bool:
        """Do what is missing of `rows` and say whether every one of them is measured.

        Args:
            rows: None: all that the profile can measure.

        Raises:
            ConfigError: a row's configuration has a problem, and nothing was started; or its data has, and the rows
                that are kept by then stay.
        """
        stages = self.study.ordered(rows)
        wanted = {row.name for row in self.study.rows} if rows is None else set(rows)
        missing = self._missing(stages, wanted)
        self._check(stages, missing)
        stages = self.study.ordered(tuple(wanted - self.unmeasured.keys()))
        needed = {row.name for stage in stages for row in stage} - self.unmeasured.keys()
        missing = {name: tasks for name, tasks in missing.items() if name in needed}
        for task in (task for tasks in missing.values() for task in tasks):
            if self.results.find(task) is not None:
                print(
                    f"{task.name} is known by its tables alone. Its weights are needed, so it is trained again unless "
                    "its run folder is here.",
                    flush=True,
                )
        self._announce(missing)
        for stage in stages:
            todo = [
                task for row in stage for task in missing.get(row.name, []) if row.name not in self.unmeasured
            ]
            self._train([task for task in todo if task.row.trained])
            for task in todo:
                if task.row.probe is not None and task.row.name not in self.unmeasured:
                    self._probe(task)
        alone = {row.name for row in self.study.rows if row.name in wanted and self._averages_one(row)}
        why = "an average takes two runs, and one is asked for"
        self.unmeasured |= dict.fromkeys(sorted(alone - self.unmeasured.keys()), why)
        self._tell()
        failed = wanted & self.unmeasured.keys()
        return not (failed - alone if rows is None else failed)

    def train_again(self, task: Task) -> RunFolder:
        """The folder of one run with its weights, trained if it isn't here, and before it what it starts from.

        Nothing is kept.

        Raises:
            ConfigError: as for `run`.
            RunError: it can't be trained, or its training did not finish.
        """
        chain = [task]
        while (source := chain[0].source) is not None:
            chain.insert(0, source)
        missing = {one.row.name: [one] for one in chain}
        self._check([[one.row] for one in chain], missing)
        if task.row.name not in self.unmeasured:
            self._announce(missing)
            for one in chain:
                self._train([one], keep=False)
        if task.name not in self._jobs:
            raise RunError(f"{task.name} has no weights: {self.unmeasured[task.row.name].rstrip('.')}.")
        return self._jobs[task.name].folder

    def _check(self, stages: Sequence[Sequence[Row]], missing: Mapping[str, list[Task]]) -> None:
        """Look for data, configurations and weights, and take out the rows that can't be run."""
        if self.study.profiles[self.profile].drawn:
            self._draw({row.data for stage in stages for row in stage if row.data})
        else:
            self._without_data(missing)
        self._compose(missing)
        self._without_weights(missing)
        self._without_needs(stages, missing)

    def _state(self, name: str) -> State:
        """Whether a row's tables are kept: all, so that only its weights can be missing, or some, or none."""
        row = self.study.row(name)
        if self.results.of(self.study, row, self.profile):
            return "all"
        return "some" if self.results.some(self.study, row, self.profile) else "none"

    def _tell(self) -> None:
        """What can't be measured and why, each row once."""
        for name, why in self.unmeasured.items():
            if name not in self._told:
                self._told.add(name)
                print(f"{name}: {_LOST[self._state(name)]}: {why}", flush=True)

    def _averages_one(self, row: Row) -> bool:
        return bool(row.ensemble) and runs_needed(self.study, row, self.profile) < 2

    def _missing(self, stages: Sequence[Sequence[Row]], wanted: set[str]) -> dict[str, list[Task]]:
        """The tasks of each row that have to be run: what is wanted and not kept, and what those start from."""
        tables = set(wanted)
        for row in reversed([row for stage in stages for row in stage]):
            if row.name in tables:
                tables |= {*row.ensemble, *([row.runs_of] if row.runs_of else [])}
        missing: dict[str, list[Task]] = {}
        again: set[str] = set()
        for row in reversed([row for stage in stages for row in stage]):
            for task in tasks_of(self.study, row, self.profile):
                kept = self.results.find(task) is not None
                if task.name in again or (row.name in tables and (self.again or not kept)):
                    if self.results.stale(task):
                        print(f"{task.name} has changed in the study's file, so it is run again.", flush=True)
                    missing.setdefault(row.name, []).append(task)
                    if task.source is not None:
                        again.add(task.source.name)
        return missing

    def _without_data(self, missing: Mapping[str, list[Task]]) -> None:
        for name in missing:
            data = self.study.row(name).data
            if data is not None and data not in self.place.roots:
                self.unmeasured[name] = (
                    f"no {data} at hand: --data-root {data}=DIR says where the download lies"
                )

    def _draw(self, names: set[str]) -> None:
        count = self.study.profiles[self.profile].drawn
        assert count is not None
        roots = dict(self.place.roots)
        for name in sorted(names):
            folder = self.place.work / "drawn" / f"{name}-{count}"
            if not folder.is_dir():
                part = folder.with_name(f".{folder.name}.part")
                shutil.rmtree(part, ignore_errors=True)
                mimic.draw(name, part, count)
                part.rename(folder)
            roots[name] = folder
        self.place = Place(roots, {}, self.place.machine, self.place.work)

    def _compose(self, missing: Mapping[str, list[Task]]) -> None:
        """Check every configuration before anything is started, whatever data and weights are at hand."""
        problems = []
        for tasks in missing.values():
            if not tasks[0].row.trained:
                continue
            try:  # once a row: Hydra takes a tenth of a second, and seeds and folds are checked by their type
                first = compose([*tasks[0].overrides, *self._machine(tasks[0])])
            except ConfigError as error:
                problems.append(f"{tasks[0].name}: {error}")
                continue
            for task in tasks:
                self._configs[task.name] = first.model_copy(update={"seed": task.seed, "fold": task.fold})
        if problems:
            raise ConfigError("Nothing was started.\n" + "\n".join(problems))

    def _machine(self, task: Task) -> list[str]:
        root = self.place.roots.get(task.row.data or "")
        return [*self.place.machine, *([f"data.root={root.absolute()}"] if root else [])]

    def _without_weights(self, missing: Mapping[str, list[Task]]) -> None:
        """Replace published weights by local files, and take out the rows whose weights can't be had."""
        asked: dict[str, str] = {}
        for name, tasks in missing.items():
            for task in tasks:
                config = self._configs.get(task.name)
                if config is None or not config.model.pretrained or name in self.unmeasured:
                    continue
                network = config.model.name
                file = self.place.weights.get(network)
                if file is not None:
                    model = config.model.model_copy(update={"pretrained": False, "weights": file.absolute()})
                    self._configs[task.name] = config.model_copy(update={"model": model})
                    continue
                if network not in asked:
                    asked[network] = _unavailable(network)
                if asked[network]:
                    self.unmeasured[name] = (
                        f"weights unavailable: --weights {network}=FILE names a file of them. {asked[network]}"
                    )

    def _without_needs(self, stages: Sequence[Sequence[Row]], missing: Mapping[str, list[Task]]) -> None:
        """Take out the rows that need one which can't be measured."""
        for row in (row for stage in stages for row in stage):
            lost = [name for name in row.needs if name in self.unmeasured]
            computed = (row.ensemble or row.runs_of) and self._state(row.name) != "all"
            if lost and (row.name in missing or computed):
                self.unmeasured.setdefault(row.name, f"it needs {lost[0]}, {_LACKING[self._state(lost[0])]}")

    def _announce(self, missing: Mapping[str, list[Task]]) -> None:
        """What can't be measured, how many runs there are to do, and the time that they are expected to take."""
        self._tell()
        todo = [task for name, tasks in missing.items() if name not in self.unmeasured for task in tasks]
        if not todo:
            print("Nothing to run.", flush=True)
            return
        said = f"{self.study.name}, profile {self.profile}: {numbers.counted(len(todo), 'run')}"
        if self.profile != "smoke":
            said += f", {self._expected(todo)}"
        print(said, flush=True)

    def _expected(self, todo: Sequence[Task]) -> str:
        """The time that runs are expected to take, by what the row's kept runs took and by the study's file."""
        known = {task.name: self.results.minutes(task) for task in todo}
        measured = [minutes for minutes in known.values() if minutes is not None]
        guessed = [
            getattr(task.row.minutes, self.profile)
            for task in todo
            if known[task.name] is None and task.row.minutes
        ]
        sources = []
        if measured:
            sources.append(f"{len(measured)} by what kept runs of their rows took")
        if guessed:
            sources.append(f"{len(guessed)} by the estimates for two cores in the study's file")
        return f"about {numbers.duration(60 * sum([*measured, *guessed]))} ({', '.join(sources)})"

    def _train(self, tasks: Sequence[Task], keep: bool = True) -> None:
        ready = []
        for task in tasks:
            config = self._configs[task.name]
            if task.row.init_from is not None:
                assert task.source is not None
                source = self._jobs.get(task.source.name)
                if source is None:
                    self.unmeasured[task.row.name] = (
                        f"it starts from {task.source.name}, which did not finish"
                    )
                    continue
                model = config.model.model_copy(update={"init_from": source.folder.path})
                config = config.model_copy(update={"model": model})
            ready.append((task, Wanted(tuple(task.overrides), config)))
        jobs = _prepared(ready)

        def note(job: Job) -> None:
            for task, its in jobs:
                if its.identity == job.identity:
                    self._jobs[task.name] = job
                    if keep and self.results.find(task) is None:  # trained for its weights: its tables stay
                        self.results.keep(task, job.folder)

        if jobs:
            machine = jobs[0][1].config.machine
            free = slots(machine.devices, machine.jobs)
            Queue(list({job.identity: job for _, job in jobs}.values()), free, note).run()
        for task, job in jobs:
            if task.name not in self._jobs:
                self.unmeasured[task.row.name] = (
                    f"{job.folder.name} did not finish; the same command continues it"
                )

    def _probe(self, task: Task) -> None:
        from emotion.training.probe import write_probe

        assert task.source is not None
        assert task.row.probe is not None
        job = self._jobs.get(task.source.name)
        if job is None:
            self.unmeasured[task.row.name] = f"it needs {task.source.name}, which did not finish"
            return
        target = self.place.work / "probes" / self.profile / task.name
        try:
            self.results.keep(task, write_probe(job.folder, task.row.probe.head, target, task.command))
        except EmotionError as error:
            self.unmeasured[task.row.name] = str(error)


def _prepared(ready: Sequence[tuple[Task, Wanted]]) -> list[tuple[Task, Job]]:
    """The job of each task; one whose weights are gone although it is finished is trained again.

    Raises:
        ConfigError: every problem, before any of these is started.
    """
    found, problems = [], {}
    for task, wanted in ready:
        try:
            (job,) = prepared([wanted])
        except ConfigError as error:
            problems[str(error)] = task.name
            continue
        if state_of(job) == "finished" and not job.folder.checkpoint("best").is_file():
            job = Job(job.overrides, job.config.model_copy(update={"force": True}), job.fingerprint)
        found.append((task, job))
    if problems:
        raise ConfigError("\n".join(f"{name}: {said}" for said, name in problems.items()))
    return found


def _unavailable(network: str) -> str:
    """Why the published weights of a network can't be had; "" where they can."""
    from emotion.models.network import require_published_weights

    try:
        require_published_weights(network)
    except RunError as error:
        return str(error)
    return ""
