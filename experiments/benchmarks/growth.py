"""Growth with the number of images and of folds."""

from .bench import Bench, drawn, recipe
from .side_by_side import Comparison

_BYTES = "bytes an image beyond the map"


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
    work = (
        "drawn faces at 48 px, drawing included in preparing; splitting with duplicates and persons; first batch: "
        "opening, splitting and one batch in a process that has imported everything; pass: the rest of the epoch, "
        "augmented in the main process. Bytes: private memory from before opening to the first batch, in a process "
        "that has gone through a small data set before and prepared nothing, what was freed and not yet given back to "
        "the system included."
    )
    most = {"first batch s": 3.0, _BYTES: 100.0}
    return [Comparison("Growth with images and folds", work, "prepared images/s", "higher", rows, most=most)]
