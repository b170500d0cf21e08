"""A run that a study keeps by its tables alone, trained again for a command that needs its weights."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from emotion.errors import RunError
from emotion.runs import RunFolder, find
from emotion.studies.run import Place, StudyRun
from emotion.studies.tasks import ROW_FILE, Results

RUNS = Path("runs")  # machine.runs_dir of rows that are run without overrides of the machine


def with_weights(path: Path) -> RunFolder:
    """The run at `path`; where a study keeps its tables alone, the run folder in runs/ that has its weights.

    If there is none, the run is trained again, and before it what it starts from; training that was cut off goes on.
    That, and the time that it is expected to take, is said on stderr before it starts: stdout is the command's. What is
    kept stays as it is.

    Raises:
        RunError: it is no run, or a row without weights of its own, or one that the study's file describes otherwise
            by now; its data set doesn't lie at its usual place or its published weights can't be had, so that the line
            to type is said; or the training did not finish.
    """
    run = RunFolder.open(path)
    if not run.file(ROW_FILE).is_file() or run.checkpoint("best").is_file():
        return run
    status = run.status
    if (origin := next((one for one in find(RUNS) if _has_weights_of(one, status)), None)) is not None:
        return origin
    kept = run.path.absolute()
    task = Results.task_of(run)
    if task is None:
        raise RunError(
            f"{path} has no weights here, and its study's file describes another run by now. Its command trains "
            f"what the file describes: {run.again}"
        )
    study = task.study
    if not task.row.trained:
        raise RunError(f"{path} never had weights: it is made of another row's features.")
    data = run.config["data"]
    root = Path(data["root"] or "").expanduser()
    if not (study.profiles[task.profile].drawn or root.exists()):
        run.require_weights()  # says the line to type
    place = Place({data["name"]: root}, work=Path("studies") / study.name)
    results = Results(kept.parents[1], place.work / "results")
    with _all_on_stderr():
        print(
            f"{path} holds tables alone. Its weights are needed: {task.name} is trained again, unless it was already."
        )
        try:
            return StudyRun(study, task.profile, results, place).train_again(task)
        except RunError as error:
            raise RunError(f"{error} The line to name files in: {run.again}") from error


def _has_weights_of(run: RunFolder, status: dict[str, Any]) -> bool:
    """Whether it is the run of that status, with its weights. One that can't be read is another."""
    try:
        return run.checkpoint("best").is_file() and run.status == status
    except RunError:
        return False


@contextmanager
def _all_on_stderr() -> Iterator[None]:
    """What this process and the jobs that it starts print goes to stderr."""
    sys.stdout.flush()
    stdout = os.dup(1)
    os.dup2(2, 1)  # the jobs'
    try:
        with redirect_stdout(sys.stderr):  # this process's, whatever stands for stdout in it
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
