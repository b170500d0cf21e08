"""Start-up: from a command to its answer, and to the first training step."""

import sys
from dataclasses import replace
from typing import Any

from . import material
from .bench import KERAS, OURS, PLAIN, Bench, drawn, recipe, run
from .processes import ROOT, Command
from .side_by_side import Comparison

OURS_FIRST = "emotion, a network's first run"


def measure(bench: Bench) -> list[Comparison]:
    """From the command to its answer, and to the first training step on a prepared store."""
    train = str(ROOT / "train.py")
    log = bench.work / "startup" / "log.txt"
    commands = [
        Command("python train.py --help", [sys.executable, train, "--help"], log),
        Command("python train.py --cfg job", [sys.executable, train, "--cfg", "job"], log),
        Command("python -c 'import torch'", [sys.executable, "-c", "import torch"], log),
    ]
    answers = Comparison(
        "Commands that answer", "from the command to its end", "s", "lower", bench.measure(commands)
    )
    net, batch = ("minivgg", 8) if bench.quick else ("minivgg", 64)
    data = drawn(400 if bench.quick else 5_000, 48)
    folder = str(material.folders(data))
    one: dict[str, Any] = {"batch": batch, "skip": 0, "steps": 1}
    peer = {"folder": folder, "network": net, "size": 48, "grey": True, **one}
    ours = run(*data, *recipe(net, batch))
    candidates = [
        bench.task(OURS, "ours:steps", overrides=ours, **one),
        bench.task(OURS_FIRST, "ours:first_steps", overrides=ours, **one),
        bench.task(PLAIN, "plain:steps", workers=2, **peer),
        bench.task(KERAS, "keras_peer:steps", classes=7, how="dataset", **peer),
    ]
    rows = bench.measure([replace(candidate, fresh=True) for candidate in candidates])
    for row in rows:
        row.rounds = [
            {key: measured[key] for key in ("value", "precision") if key in measured}
            for measured in row.rounds
        ]
    work = (
        f"a new process each; {net} at 48 px, batches of {batch}, images prepared, weights random. A network's first "
        "run on a machine measures which precision is faster"
    )
    title = "First training step after the command"
    limits = dict.fromkeys((OURS, OURS_FIRST), 8.0)
    goals: dict[str, tuple[float | None, ...]] = {OURS_FIRST: (None,)}
    return [answers, Comparison(title, work, "s", "lower", rows, (OURS,), goals, limits)]
