"""`emotion sweep table|list`"""

from pathlib import Path

from emotion.errors import RunError
from emotion.reporting.sweep import SweepFolder, write_tables
from emotion.training.progress import resampling


def table(folder: Path, test: bool) -> None:
    """Write the tables anew from the runs' predictions and print the first."""
    sweep = SweepFolder.open(folder)
    with resampling():
        found = write_tables(sweep, test)
    print(found)
    print(sweep.path)


def list_sweeps(sweeps_dir: Path) -> None:
    """A line for each sweep: its folder, its jobs, what was swept."""
    folders = sorted(sweeps_dir.glob("*/jobs.json"), key=lambda path: -path.stat().st_mtime)
    if not folders:
        raise RunError(
            f"expected sweeps in {sweeps_dir.absolute()}, found none. `python train.py -m …` makes one."
        )
    for path in folders:
        sweep = SweepFolder.open(path.parent)
        finished = sum(run.finished for run in sweep.runs())
        swept = ", ".join(sweep.swept()) or "folds"
        print(f"{path.parent}  {finished}/{len(sweep.jobs)} finished  {swept}")
