"""`emotion report RUN…`"""

from pathlib import Path

from emotion.reporting.report import write_report
from emotion.reporting.sweep import SweepFolder
from emotion.runs import RunFolder
from emotion.training.pictures import PicturesOfRuns


def report(paths: list[Path], out: Path | None) -> None:
    """Write the report and print where it lies. Without the data it has no pictures, and says so."""
    runs = [run for path in paths for run in _runs(path)]
    target = out or (runs[0].file("report.html") if len(runs) == 1 else Path("report.html"))
    print(write_report(runs, target.absolute(), PicturesOfRuns()))


def _runs(path: Path) -> list[RunFolder]:
    """The run in `path`, or the runs of the sweep in it."""
    return SweepFolder.open(path).runs() if (path / "jobs.json").is_file() else [RunFolder.open(path)]
