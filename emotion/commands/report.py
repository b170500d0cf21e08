"""`emotion report RUN…`"""

from pathlib import Path

from emotion.commands.named import runs_in
from emotion.reporting.report import TABLE_FORMATS, write_report, write_tables
from emotion.training.progress import resampling


def report(paths: list[Path], out: Path | None, test: bool) -> None:
    """Write the report, or its tables alone, and print where it lies. Without the data it has no pictures."""
    runs = runs_in(paths)
    target = (out or (runs[0].file("report.html") if len(runs) == 1 else Path("report.html"))).absolute()
    with resampling():
        if target.suffix in TABLE_FORMATS:
            made = write_tables(runs, target, test=test)
        else:
            from emotion.training.pictures import PicturesOfRuns

            made = write_report(runs, target, PicturesOfRuns(), test=test)
    print(made)
