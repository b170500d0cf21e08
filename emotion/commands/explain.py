"""`emotion explain RUN`"""

from pathlib import Path

from emotion.errors import ConfigError
from emotion.models.saliency import Method
from emotion.reporting.report import write_report
from emotion.studies.again import with_weights
from emotion.training.explain import explain as write_sheets
from emotion.training.pictures import PicturesOfRuns
from emotion.training.progress import progress, resampling


def explain(path: Path, method: Method, layer: str | None, pairs: list[str]) -> None:
    """Write the sheets and the report that shows them, and print where it lies."""
    asked = [_pair(text) for text in pairs]
    run = with_weights(path)
    write_sheets(run, method, layer, asked, progress(print, "Explained", "images"))
    with resampling():
        report = write_report([run], run.file("report.html"), PicturesOfRuns())
    print(report)


def _pair(text: str) -> tuple[str, str]:
    label, colon, answer = text.partition(":")
    if not (label and colon and answer):
        raise ConfigError(f"--pair: expected label:answer, as in sadness:neutral, found {text!r}.")
    return label, answer
