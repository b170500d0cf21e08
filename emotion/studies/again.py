"""A run that a study keeps by its tables alone, trained again for a command that needs its weights."""

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

from emotion.errors import RunError
from emotion.runs import RunFolder
from emotion.studies.run import Place, StudyRun
from emotion.studies.study import PROFILES, Study, load
from emotion.studies.tasks import ROW_FILE, Results, Task, tasks_of


def with_weights(path: Path) -> RunFolder:
    """The run at `path`; where a study keeps its tables alone, the run folder that its training leaves here.

    What is trained, and the time that it is expected to take, is printed before it starts. Training that was cut off
    goes on, and a run folder that is here already is not trained again. Published weights come from the model hub.

    Raises:
        RunError: it is no run; its data set doesn't lie at its usual place, so that the line to type is said; or the
            training did not finish.
    """
    run = RunFolder.open(path)
    if (
        not run.file(ROW_FILE).is_file()
        or run.checkpoint("best").is_file()
        or run.file("derived.json").is_file()
    ):
        return run
    kept = run.path.absolute()
    study = load(shlex.split(run.environment["command"])[3])
    task = _task(study, kept)
    data = run.config["data"]
    root = Path(data["root"] or "").expanduser()
    if task is None or not (study.profiles[task.profile].drawn or root.exists()):
        run.require_weights()  # says what to type
    assert task is not None
    print(
        f"{path} holds tables alone. Its weights are needed: {task.name} is trained again, unless it is in runs/."
    )
    place = Place({data["name"]: root}, work=Path("studies") / study.name)
    with TemporaryDirectory() as elsewhere:  # what is kept stays as it is, perhaps committed
        results = Results(Path(elsewhere), Path(elsewhere))
        running = StudyRun(study.with_seeds(task.profile, [task.seed]), task.profile, results, place)
        running.run((task.row.name,))
    trained = running.trained(task)
    if trained is None:
        raise RunError(f"{task.name} was not trained again: {running.unmeasured.get(task.row.name)}")
    return trained


def _task(study: Study, kept: Path) -> Task | None:
    """What a folder results/<profile>/<row>-s<seed> holds; None where the study has no such run any more."""
    for profile in PROFILES:
        for row in study.rows:
            for task in tasks_of(study, row, profile):
                if (profile, task.name) == (kept.parent.name, kept.name):
                    return task
    return None
