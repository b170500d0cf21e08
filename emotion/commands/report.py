"""`emotion report RUN…`"""

from pathlib import Path

from emotion.commands.named import runs_in
from emotion.errors import ConfigError
from emotion.reporting.report import TABLE_FORMATS, write_report, write_tables
from emotion.training.progress import resampling

_PAGES = ("", ".html", ".htm")


def report(paths: list[Path], out: Path | None, test: bool) -> None:
    """Write the report, or its tables alone, and print where it lies. Without the data it has no pictures."""
    runs = runs_in(paths)
    if out is not None and (found := out.suffix.lower()) not in (*_PAGES, *TABLE_FORMATS):
        raise ConfigError(
            f"--out: expected a file that ends with {', '.join(('.html', *TABLE_FORMATS))}, found {found}."
        )
    target = (out or (runs[0].file("report.html") if len(runs) == 1 else Path("report.html"))).absolute()
    with resampling():
        if target.suffix.lower() in TABLE_FORMATS:
            made = write_tables(runs, target, test=test)
        else:
            from emotion.training.pictures import PicturesOfRuns

            made = write_report(runs, target, PicturesOfRuns(), test=test)
    print(made)
