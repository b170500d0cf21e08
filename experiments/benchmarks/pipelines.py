"""Input pipelines: from disk to the normalised tensors that a network gets."""

from dataclasses import replace
from typing import Any

from . import material
from .bench import AUGMENTATION, OURS, Bench, drawn, recipe
from .processes import PER_CORE, Task
from .side_by_side import Comparison, Row

TORCHVISION, TIMM = "torchvision ImageFolder, v2", "timm loader"
GOALS = {48: 8.0, 224: 4.0}  # times torchvision's images per core second


def measure(bench: Bench) -> list[Comparison]:
    """Images from disk to the normalised tensors that a network gets."""
    found = []
    batch = 8 if bench.quick else 128
    for size, count in ((48, 400),) if bench.quick else ((48, 16_000), (112, 8_000), (224, 4_000)):
        data = drawn(count, size)
        folder = str(material.folders(data))
        for workers in (0,) if bench.quick else (0, 1, 2):
            overrides = [*data, *recipe("test_resnet", batch), f"machine.workers={workers}"]
            peer: dict[str, Any] = {"folder": folder, "size": size, "batch": batch, "workers": workers}
            work = (
                f"whole passes over {count:,} drawn faces (80 % of them train), colour, {size} px, batches of {batch}: "
                f"{AUGMENTATION}; normalised fp32 tensors. Ours from the prepared store, the peers from jpg files of "
                "the same size. timm's loader has a random crop instead of rotation, shift and shear"
            )
            title = f"Input pipeline, {size} px, {workers} workers"
            rows = bench.measure(_candidates(bench, overrides, peer))
            found.append(Comparison(title, work, "images/s", "higher", rows, (OURS,)))
            if workers == 0:
                alone = _candidates(bench, [*overrides, "machine.threads=1"], peer)
                found.append(_per_core(bench, size, alone, work))
    return found


def _candidates(bench: Bench, overrides: list[str], peer: dict[str, Any]) -> list[Task]:
    return [
        bench.task(OURS, "ours:loader", overrides=overrides),
        bench.task(TORCHVISION, "plain:torchvision_loader", **peer),
        bench.task(TIMM, "plain:timm_loader", **peer),
    ]


def _per_core(bench: Bench, size: int, candidates: list[Task], work: str) -> Comparison:
    """By processor time, and of one thread each: threads that wait for each other would count as work."""
    rows = bench.measure([replace(one, variables={"OMP_NUM_THREADS": "1"}) for one in candidates])
    by_core = []
    for row in rows:
        rounds = [{"value": measured[PER_CORE]} for measured in row.rounds if PER_CORE in measured]
        missing = row.missing or (None if rounds else "not measured: this system has no /proc/PID/stat")
        by_core.append(Row(row.name, rounds, missing=missing))
    work = f"{work}; one thread each"
    goals: dict[str, tuple[float | None, ...]] = {TORCHVISION: (GOALS[size],)} if size in GOALS else {}
    title = f"Input pipeline, {size} px, per core"
    return Comparison(title, work, PER_CORE, "higher", by_core, (OURS,), goals)
