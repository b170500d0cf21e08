"""Growth with the number of images and of folds."""

from collections.abc import Sequence

from .bench import Bench, drawn, recipe
from .side_by_side import Comparison, Row

_BYTES = "bytes an image beyond the map"
_WORST, _IN = "worst step, × linear", "which step"
_LINEAR = 1.5  # times what the smallest's seconds would grow to: one round, so beyond its noise only
_FLOOR_S = 0.05  # what a step may take whatever it would grow to: below, start-up and noise are all there is
_JUDGED = ("prepare s", "open s", "split s", "network s", "pass s", "split in 16 folds s")


def measure(bench: Bench) -> list[Comparison]:
    """From 1× to 16× the images, to 500,000: everything is to stay linear, and memory to stay small."""
    counts = (400,) if bench.quick else (31_250, 125_000, 500_000)
    folds = [2, 4] if bench.quick else [2, 4, 8, 16]
    bench.work.mkdir(parents=True, exist_ok=True)
    candidates = [
        bench.task(
            f"{count:,} images", "ours:grow", folds=folds, folder=str(bench.work),
            overrides=[*drawn(count, 48), *recipe("minivgg", 8 if bench.quick else 128), "machine.workers=0"],
        )
        for count in counts
    ]  # fmt: skip
    rows = bench.measure(candidates, 1, 0)
    _against_smallest(rows, counts)
    work = (
        "drawn faces at 48 px, drawing included in preparing; splitting with duplicates and persons; first batch: all "
        "that a run does before its first step in a process that has imported everything, the files in memory as "
        "after an earlier run (opening, splitting, the network with its statistics of the training images, one "
        "batch); pass: the rest of the epoch, augmented in the "
        "main process. Bytes: private memory from before opening to the first batch, without the network, in a "
        "process that has gone through a small data set before and prepared nothing, what was freed and not yet given "
        "back to the system included. One round. Linear: the smallest's seconds times the images"
    )
    most = {"first batch s": 3.0, _BYTES: 100.0, _WORST: _LINEAR}
    return [Comparison("Growth with images and folds", work, "prepared images/s", "higher", rows, most=most)]


def _against_smallest(rows: Sequence[Row], counts: Sequence[int]) -> None:
    """Note of each other row the step that has grown most beyond linear, and how many times linear it takes."""
    smallest, *others = zip((row.facts() for row in rows), counts, strict=True)
    for row, (facts, count) in zip(rows[1:], others, strict=True):
        found = {
            step: facts[step] / max(_FLOOR_S, smallest[0][step] * count / smallest[1])
            for step in _JUDGED
            if step in facts and step in smallest[0]
        }
        if found:
            step = max(found, key=lambda name: found[name])
            row.notes |= {_WORST: found[step], _IN: step.removesuffix(" s")}
