"""The table of a sweep: one row a configuration, its folds together, computed from the validation predictions.

Test scores are shown only on request, and never ranked by: whoever chooses by them has no test set any more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from emotion import atomic
from emotion.errors import EmotionError, RunError
from emotion.evaluation import folds, metrics, predictions
from emotion.evaluation.intervals import FEW, scarce
from emotion.evaluation.predictions import Predictions
from emotion.reporting import tables
from emotion.reporting.page import Listing, Matrix, Page, Section, Sheet
from emotion.reporting.report import render
from emotion.reporting.tables import Cell, Column, Table
from emotion.runs import RunFolder, TableName
from emotion.sweeps import SweepFolder

HEADLINE = ("accuracy", "balanced_accuracy", "f1_macro")


@dataclass(frozen=True)
class Configuration:
    """The runs that differ in nothing but their fold."""

    choices: dict[str, str]
    runs: tuple[RunFolder, ...]

    def tables_of(self, part: TableName) -> list[Predictions]:
        """The tables of the finished runs."""
        found = []
        for run in self.runs:
            try:
                if run.finished and run.has(part):
                    found.append(predictions.read(run.predictions(part)))
            except EmotionError:
                continue
        return found

    @cached_property
    def validation(self) -> list[Predictions]:
        return self.tables_of("val")

    @cached_property
    def pooled(self) -> Predictions | None:
        """The out-of-fold predictions of all folds; None where it is one run, or folds are missing."""
        if len(self.validation) < 2 or len(self.validation) < len(self.runs):
            return None
        return folds.pool(self.validation, run=self.runs[0].name)

    def name(self) -> str:
        if self.choices:
            return ", ".join(f"{key}={value}" for key, value in self.choices.items())
        try:
            return str(self.runs[0].config["model"]["name"])
        except EmotionError:
            return self.runs[0].name  # it died before it had a configuration

    def failures(self) -> dict[str, str]:
        """What the runs that failed said, by their names."""
        found = {}
        for run in self.runs:
            try:
                if run.status["state"] == "failed":
                    found[run.name] = str(run.status.get("message", ""))
            except EmotionError:
                continue
        return found


def configurations(sweep: SweepFolder) -> list[Configuration]:
    """In the order typed."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for job in sweep.jobs:
        grouped.setdefault(job["configuration"], []).append(job)
    keys = sweep.swept()
    return [
        Configuration(
            {key: ",".join(dict.fromkeys(job["choices"].get(key, "") for job in jobs)) for key in keys},
            tuple(map(sweep.run, jobs)),
        )
        for jobs in grouped.values()
    ]


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no message"


def scores(found: Sequence[Predictions]) -> dict[str, np.ndarray]:
    """The metrics of a confusion matrix in each of the tables: name → (tables,)."""
    each = []
    for table in found:
        confusion = metrics.confusion_matrix(table.labels, table.predicted, len(table.classes))
        each.append(metrics.from_confusion(confusion, table.classes))
    return {name: np.array([float(values[name]) for values in each]) for name in each[0]} if each else {}


def frame(sweep: SweepFolder, test: bool = False) -> pl.DataFrame:
    """One row a configuration, best validation score first.

    Columns: the swept keys; `jobs` wanted and `finished`; for each metric its mean over the folds and `…_sd` (n − 1;
    null for one run); `last_epoch_accuracy` where the best epoch was chosen on the fold it is scored on; with `test`
    also `test_…`. The F1 of a class is that of the folds that have an image of it.
    """
    rows: list[dict[str, Any]] = []
    for configuration in configurations(sweep):
        row: dict[str, Any] = {**configuration.choices, "jobs": len(configuration.runs)}
        row["finished"] = len(configuration.validation)
        row |= dict(_mean_and_sd("", configuration.validation))
        last = scores(configuration.tables_of("val_last"))
        row["last_epoch_accuracy"] = float(last["accuracy"].mean()) if last else None
        if test:
            row |= dict(_mean_and_sd("test_", configuration.tables_of("test")))
        rows.append(row)
    # in the order of a configuration with finished runs, if there is one; other data may have other classes
    columns = list(dict.fromkeys(column for row in sorted(rows, key=len, reverse=True) for column in row))
    found = pl.DataFrame(
        [{column: row.get(column) for column in columns} for row in rows], infer_schema_length=None
    )
    monitor = _monitor(sweep)
    if monitor not in found.columns:
        return found
    whole = pl.col("finished") == pl.col("jobs")  # a mean over fewer folds isn't ranked among whole ones
    return found.sort(whole, monitor, descending=True, nulls_last=True, maintain_order=True)


def _mean_and_sd(prefix: str, found: Sequence[Predictions]) -> Iterator[tuple[str, float | None]]:
    values = scores(found)
    if not values:
        return
    classes = found[0].classes
    there = np.array([np.bincount(table.labels, minlength=len(classes)) > 0 for table in found])
    for name in HEADLINE:
        yield from _two(f"{prefix}{name}", values[name])
    for index, name in enumerate(classes):
        yield from _two(f"{prefix}f1/{name}", values[f"f1/{name}"][there[:, index]])


def _two(name: str, values: np.ndarray) -> Iterator[tuple[str, float | None]]:
    yield name, float(values.mean()) if len(values) else None
    yield f"{name}_sd", float(values.std(ddof=1)) if len(values) > 1 else None


def _monitor(sweep: SweepFolder) -> str:
    """The metric that the table is ranked by: the one that the runs chose their best epoch by."""
    for run in sweep.runs():
        try:
            monitor = str(run.config["trainer"]["monitor"])
        except EmotionError:
            continue
        return monitor if monitor in HEADLINE else "accuracy"
    return "accuracy"


def make_table(sweep: SweepFolder, test: bool = False) -> Table:
    """The table as it is read: shares in %, mean ± sd."""
    found = frame(sweep, test)
    keys = sweep.swept()
    shown = [c for c in found.columns if c not in (*keys, "jobs", "finished") and not c.endswith("_sd")]
    columns = [*(Column(key, number=False) for key in keys or ("configuration",)), Column("jobs")]
    columns += [Column(_title(name)) for name in shown]
    rows = []
    for row in found.iter_rows(named=True):
        cells = [Cell(str(row[key]), str(row[key])) for key in keys] or [
            Cell(configurations(sweep)[0].name())
        ]
        cells.append(Cell(f"{row['finished']}/{row['jobs']}", float(row["finished"])))
        cells += [_cell(row[name], row.get(f"{name}_sd")) for name in shown]
        rows.append(tuple(cells))
    by = _monitor(sweep)
    place = len(keys or ("configuration",)) + 1 + shown.index(by) if by in shown else None
    caption = f"Validation scores in %, ranked by {_title(by)}" + (
        " (test scores are not ranked by)" if test else ""
    )
    return Table(
        caption,
        tuple(columns),
        tuple(rows),
        notes=tuple(notes(sweep, test)),
        sorted_by=None if place is None else (place, "descending"),
    )


def _title(name: str) -> str:
    return (
        name.replace("test_", "test ").replace("f1/", "F1 ").replace("f1_macro", "macro F1").replace("_", " ")
    )


def _cell(mean: float | None, sd: float | None) -> Cell:
    if mean is None:
        return Cell("–")
    return Cell(f"{100 * mean:.1f}" + (f" ± {100 * sd:.1f}" if sd is not None else ""), mean)


def notes(sweep: SweepFolder, test: bool = False) -> list[str]:
    """What whoever reads the table must know."""
    said: list[str] = []
    rows = configurations(sweep)
    tables_there = [table for c in rows for table in c.validation]
    folded = any(len(c.runs) > 1 for c in rows)
    if folded:
        said.append("Mean ± standard deviation over the folds.")
    if any(table.meta.selected_on_this_part for table in tables_there):
        where = "fold" if folded else "part"
        said.append(
            f"Selected on this {where}: each run's best epoch was chosen on the very images it is scored on here, so "
            f"these scores are optimistic."
            + (" The last epoch's accuracy is not selected." if folded else "")
        )
    of_each_set = {(table.meta.data, table.classes) for table in tables_there}
    if tables_there:
        said += _scarce(tables_there)
    if len(precisions := sorted(_precisions(sweep))) > 1:
        said.append(
            f"Runs were trained in {' and '.join(precisions)}: some of a difference may be the precision's."
        )
    if len(of_each_set) > 1:
        said.append("Configurations were judged by different data: their scores can't be compared.")
    if test:
        said += list(dict.fromkeys(_leaks(sweep)))
    said += [note for note in dict.fromkeys(_data_notes(sweep)) if note not in said]
    failures = {name: said for c in rows for name, said in c.failures().items()}
    said += [f"Failed: {name}: {_last_line(message)}" for name, message in failures.items()]
    return said


def _precisions(sweep: SweepFolder) -> set[str]:
    """Those that finished runs were trained in."""
    found = set()
    for run in sweep.runs():
        try:
            if run.finished:
                found.add(str(run.environment["precision"]))
        except (EmotionError, KeyError):
            continue
    return found


def _scarce(found: Sequence[Predictions]) -> list[str]:
    """Which classes have too few images in a table for their F1, and so for macro figures."""
    fewest: dict[str, int] = {}
    for table in found:
        for name, count in scarce(table).items():
            fewest[name] = min(count, fewest.get(name, count))
    if not fewest:
        return []
    named = ", ".join(f"{name} ({count})" for name, count in fewest.items())
    return [
        f"Under {FEW} images, or groups of them, of {named} in a table: F1 of these classes, macro F1 and balanced "
        "accuracy are not reliable here; the pooled out-of-fold confusion has all their images."
    ]


def _leaks(sweep: SweepFolder) -> Iterator[str]:
    for run in sweep.runs():
        try:
            leaked = len(run.splits.get("leaked_test_ids") or ()) or run.splits.get("leaked_test_count", 0)
        except EmotionError:
            continue
        if leaked:
            yield (
                f"{leaked:,} test images share their pixels, a person or a source with training images; the report "
                "of a single run gives its score without them."
            )


def _data_notes(sweep: SweepFolder) -> Iterator[str]:
    for run in sweep.runs():
        try:
            yield from run.splits["data"]["notes"]
        except (EmotionError, KeyError):
            continue


def write_tables(sweep: SweepFolder, test: bool = False) -> str:
    """Write table.csv, table.md and table.html into the sweep's folder; returns the table as text.

    Raises:
        RunError: the folder can't be written.
    """
    table = make_table(sweep, test)
    pooled = {c.name(): c.pooled for c in configurations(sweep) if c.pooled is not None}
    matrices = [
        tables.matrix(_confusion(found).tolist(), found.classes, f"Out-of-fold confusion: {name}")
        for name, found in pooled.items()
    ]
    markdown = tables.markdown(table)
    try:
        atomic.write_text(sweep.path / "table.csv", frame(sweep, test).write_csv())
        atomic.write_text(sweep.path / "table.md", "\n".join([markdown, *map(tables.markdown, matrices)]))
        atomic.write_text(sweep.path / "table.html", render(_page(sweep, table, pooled)))
    except OSError as error:
        raise RunError(f"expected to write the tables into {sweep.path}: {error.strerror}.") from error
    return tables.text(table)


def _confusion(found: Predictions) -> np.ndarray:
    return metrics.confusion_matrix(found.labels, found.predicted, len(found.classes))


def _finding(table: Table) -> str:
    """Which configuration is best, where that is known."""
    if len(table.rows) < 2:
        return "One configuration."
    best, names = table.rows[0], [column.title for column in table.columns]
    if table.sorted_by is None or best[table.sorted_by[0]].sort is None:
        return "No configuration is finished."
    keys = names[: names.index("jobs")]
    return f"Best by validation: {', '.join(f'{key}={cell.text}' for key, cell in zip(keys, best, strict=False))}."


def _page(sweep: SweepFolder, table: Table, pooled: dict[str, Predictions]) -> Page:
    blocks = tuple(
        Matrix(f"confusion-{i}", name, found.classes, _confusion(found))
        for i, (name, found) in enumerate(pooled.items())
    )
    sections = [
        Section("table", "Configurations", "One row a configuration, its folds together.", (Sheet(table),))
    ]
    if blocks:
        lead = "Each image once, predicted by the run that didn't train on it."
        sections.append(Section("confusion", "Out-of-fold confusion", lead, blocks))
    failures = [item for c in configurations(sweep) for item in c.failures().items()]
    if failures:
        listed = tuple(Listing(name, said) for name, said in failures)
        sections.append(Section("failures", "Failures", "What the jobs that failed said last.", listed))
    byline = (f"{len(table.rows)} configuration{'' if len(table.rows) == 1 else 's'}",)
    finding = _finding(table)
    return Page("Sweep", "Sweep", byline, finding, tuple(sections))
