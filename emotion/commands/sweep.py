"""`emotion sweep table|list`"""

from pathlib import Path

from emotion.errors import RunError
from emotion.reporting.sweep import write_tables
from emotion.runs import RunFolder
from emotion.sweeps import SweepFolder, find
from emotion.training.progress import resampling


def table(folder: Path, test: bool) -> None:
    """Write the tables anew from the runs' predictions and print the first."""
    sweep = SweepFolder.open(folder)
    with resampling():
        found = write_tables(sweep, test)
    print(found)
    print(sweep.path)


def list_sweeps(sweeps_dir: Path) -> None:
    """A line for each sweep: its folder, its jobs, what was swept. What can't be read hides nothing else."""
    folders = find(sweeps_dir)
    if not folders:
        raise RunError(
            f"expected sweeps in {sweeps_dir.absolute()}, found none. `python train.py -m …` makes one."
        )
    for path in folders:
        try:
            sweep = SweepFolder.open(path)
        except RunError as error:
            print(f"{path}  unreadable: {error}")
            continue
        states = [_state(run) for run in sweep.runs()]
        jobs = f"{states.count('finished')}/{len(sweep.jobs)} finished"
        if unreadable := states.count("unreadable"):
            jobs += f", {unreadable} unreadable"
        print(f"{path}  {jobs}  {', '.join(sweep.swept()) or 'folds'}")


def _state(run: RunFolder) -> str:
    try:
        return str(run.status["state"])
    except RunError:
        return "unreadable"
