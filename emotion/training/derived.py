"""Run folders that no training made: averages of runs, and classifiers on a run's features. Imports no torch."""

import copy
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from emotion import atomic
from emotion.errors import DataError, RunError
from emotion.evaluation import ensemble, predictions
from emotion.evaluation.metrics import compute, to_json
from emotion.evaluation.predictions import Predictions
from emotion.runs import FORMAT, SCORED, RunFolder, TableName
from emotion.training.environment import code_version, version
from emotion.training.folder import now

_SUMMED = ("parameters", "trainable", "macs", "train_s", "file_mib")


def write_ensemble(runs: Sequence[RunFolder], target: Path, command: str) -> RunFolder:
    """Write the average of finished runs, or of one's snapshots, as a run folder that reports and comparisons take.

    Raises:
        DataError: one run without snapshots, or no part of which all have predictions of the same images.
        RunError: a run isn't finished, or `target` is there already.
    """
    for run in runs:
        if not run.finished:
            raise RunError(f"expected finished runs, found {run.path} {run.status['state']}.")
    snapshots = len(runs) == 1
    if snapshots and len(runs[0].snapshots("val")) < 2:
        raise DataError(
            f"expected two runs or more, or one with snapshots (schedule=cyclic_cosine), found {runs[0].path} alone "
            "and without."
        )
    found: dict[TableName, Predictions] = {}
    problem = "no part of which all runs have predictions"
    for part in SCORED:
        tables = _snapshot_tables(runs[0], part) if snapshots else _tables(runs, part)
        if not tables:
            continue
        try:
            found[part] = ensemble.average(tables, target.name)
        except DataError as error:
            problem = str(error)
    if not found:
        raise DataError(f"expected runs that can be averaged, found {len(runs)}: {problem}")
    if snapshots:
        count = len(runs[0].snapshots("val"))
        cost = runs[0].metrics.get("cost", {})
        costs = {key: cost[key] * (1 if key == "train_s" else count) for key in _SUMMED if key in cost}
        title, averaged = f"average of {count} snapshots", f"the {count} snapshots of {runs[0].name}"
    else:
        each = [run.metrics.get("cost", {}) for run in runs]
        costs = {key: sum(c[key] for c in each) for key in _SUMMED if all(key in c for c in each)}
        title, averaged = f"average of {len(runs)}", ", ".join(run.name for run in runs)
    return write_derived(
        runs,
        target,
        found,
        kind="snapshots" if snapshots else "ensemble",
        title=title,
        note=f"Not trained: the mean of the probabilities of {averaged}.",
        cost=costs,
        command=command,
    )


def _tables(runs: Sequence[RunFolder], part: TableName) -> list[Predictions]:
    """The runs' predictions of a part; [] where one has none."""
    if not all(run.has(part) for run in runs):
        return []
    return [predictions.read(run.predictions(part)) for run in runs]


def _snapshot_tables(run: RunFolder, part: TableName) -> list[Predictions]:
    return [
        predictions.read(path).with_meta(run=f"{run.name} {path.parent.name}") for path in run.snapshots(part)
    ]


def write_derived(
    runs: Sequence[RunFolder],
    target: Path,
    tables: Mapping[TableName, Predictions],
    *,
    kind: str,
    title: str,
    note: str,
    cost: Mapping[str, Any],
    command: str,
) -> RunFolder:
    """Write prediction tables that follow from `runs` as a finished run.

    Args:
        target: the new folder.
        kind: what was done, part of the identity.
        title: its name in tables.
        note: shown with its scores.
        cost: as in metrics.json.
        command: what makes it again.

    Raises:
        RunError: `target` is there already and isn't such a folder.
    """
    require_room(target)
    first = runs[0]  # all is read before anything is written: the target may be one of the runs
    members = [run.status["identity"] for run in runs]
    identity = hashlib.sha256("\n".join([kind, *sorted(members)]).encode()).hexdigest()
    metrics: dict[str, Any] = {"format": FORMAT}
    if any(run.metrics.get("protocol") == "leaky" for run in runs):
        metrics["protocol"] = "leaky"
    config = {**copy.deepcopy(first.config), "name": title}
    splits = _splits(runs)
    splits["data"]["notes"] = [note, *splits["data"]["notes"]]
    environment = {**first.environment, "command": command}
    # first, so that what is cut off from here on can be made again
    derived = {"format": FORMAT, "kind": kind, "runs": [run.name for run in runs]}
    atomic.write_json(target / "derived.json", derived)
    (target / "status.json").unlink(missing_ok=True)
    shutil.rmtree(target / "predictions", ignore_errors=True)  # of another combination, written here before
    (target / "report.html").unlink(missing_ok=True)
    for part, table in tables.items():
        predictions.write(target / "predictions" / f"{part}.parquet", table.with_meta(run=target.name))
        metrics[part] = to_json(compute(table.labels, table.probabilities, table.classes))
    commit, dirty = code_version()
    moment = now()
    status = {
        "format": FORMAT,
        "state": "finished",
        "identity": identity,
        "hash8": identity[:8],
        "attempt": 1,
        "version": version(),
        "commit": commit,
        "dirty": dirty,
        "started": moment,
        "finished": moment,
        "epoch": 0,
        "epochs": 0,
    }
    atomic.write_json(target / "metrics.json", {**metrics, "cost": dict(cost)})
    atomic.write_json(target / "environment.json", environment)
    atomic.write_json(target / "splits.json", splits)
    atomic.write_text(target / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    atomic.write_json(target / "status.json", status)
    return RunFolder(target)


def _splits(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """The first run's, with the leaks of all: an image that one of them has learnt from is known to the average."""
    found = [run.splits for run in runs]
    leaks: dict[tuple[str, ...], dict[str, Any]] = {}
    for leak in (leak for splits in found for leak in splits.get("leaks", [])):
        one = leaks.setdefault((leak["kind"], *leak["parts"]), leak)
        one["ids"] = sorted({*one["ids"], *leak["ids"]})
        one["count"] = max(one["count"], leak["count"], len(one["ids"]))  # a kept run has no ids
    ids = sorted({name for splits in found for name in splits.get("leaked_test_ids", [])})
    count = max(splits.get("leaked_test_count", 0) for splits in found)
    named = (
        {"leaked_test_ids": [], "leaked_test_count": count} if count > len(ids) else {"leaked_test_ids": ids}
    )
    return {**found[0], "leaks": list(leaks.values()), **named}


def require_room(target: Path) -> None:
    """
    Raises:
        RunError: `target` is there already and holds something else.
    """
    if target.exists() and not (target / "derived.json").is_file() and any(target.iterdir()):
        raise RunError(f"expected a new folder, found {target} with other files in it. Choose another.")
