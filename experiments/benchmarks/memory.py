"""Memory: the most that training takes, worker processes included."""

from dataclasses import replace
from typing import Any

from . import material
from .bench import KERAS, OURS, PLAIN, Bench, drawn, recipe, run
from .side_by_side import Comparison
from .steps import NETS


def measure(bench: Bench) -> list[Comparison]:
    """The most memory that training takes, worker processes included."""
    found = []
    net = replace(NETS[0], batch=8, skip=1, steps=2) if bench.quick else NETS[0]
    data = drawn(400 if bench.quick else 10_000, 48)
    folder = str(material.folders(data))
    ours: dict[str, Any] = {"batch": net.batch, "skip": net.skip, "steps": net.steps}
    peer = {"folder": folder, "network": net.name, "size": net.size, "grey": True, **ours}
    for workers in (1,) if bench.quick else (0, 1, 2):
        train = run(
            *data, *recipe(net.name, net.batch), "trainer.max_epochs=100000", f"machine.workers={workers}"
        )
        candidates = [
            bench.task(OURS, "ours:steps", overrides=train, **ours),
            bench.task(PLAIN, "plain:steps", workers=workers, **peer),
        ]
        if workers == 0:
            candidates.append(bench.task(KERAS, "keras_peer:steps", classes=7, how="dataset", **peer))
        rows = bench.measure(
            [replace(candidate, fresh=True, watch_memory=True) for candidate in candidates],
            min(bench.rounds, 3),
            0,
        )
        for row in rows:
            if any("peak_mib" not in measured for measured in row.rounds):
                row.missing, row.rounds = "not measured: this system has no /proc/PID/smaps_rollup", []
            row.rounds = [
                {
                    "value": measured["peak_mib"],
                    "images/s": 1000 * net.batch / measured["ms a step"],
                    "precision": measured["precision"],
                }
                for measured in row.rounds
            ]
        work = (
            f"{net.name} at 48 px, batches of {net.batch}, {workers} workers; the peak of the proportional set size of "
            "all processes (a shared page counts once), a new process each round; ours keeps freed memory on purpose"
        )
        found.append(Comparison(f"Memory, {workers} workers", work, "MiB", "lower", rows, (OURS,)))
    return found
