"""`emotion evaluate RUN data=…`"""

from collections.abc import Sequence
from pathlib import Path

from emotion.commands.inspection import described
from emotion.evaluation.intervals import estimate
from emotion.evaluation.metrics import confusion_matrix
from emotion.reporting import numbers, tables
from emotion.reporting.estimates import ends, stars
from emotion.studies.again import with_weights
from emotion.training.other_data import score_other

SHOWN = ("accuracy", "balanced_accuracy", "f1_macro")


def evaluate(run: Path, where: Sequence[str], part: str | None) -> None:
    """Print which classes are shared, the scores by them and the confusion matrix."""
    why = "Images are prepared as they were for the run, and its network is as it was trained."
    config = described(where, ("data", "machine"), why)
    folder = with_weights(run)
    found = score_other(folder, config.data, config.machine, part)
    table = found.table
    print(f"{folder.name} on {table.meta.data}: {len(table):,} images")
    print(f"shared classes: {', '.join(table.classes)}")
    if found.left_out:
        said = ", ".join(f"{name} ({count:,})" for name, count in found.left_out.items())
        print(f"images left out, of classes that the run doesn't know: {said}")
    if found.unused:
        print(
            f"the run's classes that the data doesn't have, their probability shared out: {', '.join(found.unused)}"
        )
    if found.seen:
        least = "" if found.all_known else "at least "
        print(
            f"{least}{found.seen:,} of these images have the pixels of one that the run, or one that it started from, "
            "was trained on or selected by"
        )
    if not found.all_known:
        more = "more" if found.seen else "some"
        print(
            f"whether the run was trained on {more} of these images is not known: its own data, or that of a run that "
            "it started from, is not at hand or was prepared otherwise"
        )
    for note in found.notes:
        print(f"of the data: {note}")
    scores = estimate(table, SHOWN)
    for name, value in scores.items():
        print(f"{name:<18} {numbers.percent(value.value)}  [{ends(value) or numbers.MISSING}]")
    for note in stars(scores.values()):
        print(note)
    counts = confusion_matrix(table.labels, table.predicted, len(table.classes))
    print(tables.text(tables.matrix(counts.tolist(), table.classes, "Rows: what the label says.")))
    print(found.path)
