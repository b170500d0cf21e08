"""Growth with the number of images and of folds."""

from collections.abc import Sequence

from .bench import Bench, drawn, recipe
from .side_by_side import Comparison, Row

_BYTES = "bytes an image beyond the map"
_LINEAR = 1.5  # times the seconds an image that the smallest takes: one round, so beyond its noise only
_STEPS = {"prepare s": "prepare: × an image of the smallest", "split s": "split: × an image of the smallest"}


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
        "drawn faces at 48 px, drawing included in preparing; splitting with duplicates and persons; first batch: "
        "opening, splitting and one batch in a process that has imported everything; pass: the rest of the epoch, "
        "augmented in the main process. Bytes: private memory from before opening to the first batch, in a process "
        "that has gone through a small data set before and prepared nothing, what was freed and not yet given back to "
        "the system included."
    )
    most = {"first batch s": 3.0, _BYTES: 100.0, **dict.fromkeys(_STEPS.values(), _LINEAR)}
    return [Comparison("Growth with images and folds", work, "prepared images/s", "higher", rows, most=most)]


def _against_smallest(rows: Sequence[Row], counts: Sequence[int]) -> None:
    """Note how many times the smallest's seconds an image each of the others takes: 1 where a step is linear."""
    smallest, *others = zip((row.facts() for row in rows), counts, strict=True)
    for row, (facts, count) in zip(rows[1:], others, strict=True):
        for step, said in _STEPS.items():
            if step in facts and step in smallest[0]:
                row.notes[said] = facts[step] / count / (smallest[0][step] / smallest[1])
