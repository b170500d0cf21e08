"""Finished runs as they are kept in git: enough to compute every number again, no weights, images or machine's paths.

What is kept is a run folder that reports, tables and comparisons read as any other.
"""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from emotion import atomic
from emotion.errors import RunError
from emotion.evaluation import predictions
from emotion.runs import SCORED, RunFolder, TableName
from emotion.schema import RunConfig, path_keys, validate

LIMIT_BYTES = 300 * 1024


class TooLargeError(RunError):
    """A run's tables are larger than what may be committed."""


def keep(
    run: RunFolder,
    target: Path,
    command: str,
    limit_bytes: int | None,
    needed: Collection[TableName] = SCORED,
) -> Path:
    """Copy a run's tables and facts to `target`, replacing what is there.

    Args:
        command: the line that makes the run again, kept instead of the one that was typed.
        limit_bytes: what may be committed; None: any size.
        needed: the parts whose tables have to be kept; the others' are left out where all together are too large.

    Raises:
        TooLargeError: it takes more.
        RunError: the run isn't finished.
    """
    if not run.finished:
        raise RunError(
            f"expected a finished run, found {run.path} {run.status['state']}: type its command again."
        )
    part = target.parent / f".{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    (part / "predictions").mkdir(parents=True)
    atomic.write_json(part / "metrics.json", run.metrics)
    atomic.write_json(part / "status.json", run.status)
    atomic.write_json(part / "environment.json", _environment(run.environment, command))
    atomic.write_json(part / "splits.json", _splits(run.splits))
    text = yaml.safe_dump(without_machine(run.config), sort_keys=False, allow_unicode=True)
    atomic.write_text(part / "config.yaml", text)
    if run.file("metrics.csv").is_file():
        shutil.copyfile(run.file("metrics.csv"), part / "metrics.csv")
    for name in SCORED:
        if run.has(name):
            table = predictions.read(run.predictions(name))
            predictions.write(part / "predictions" / f"{name}.parquet", table, compact=True)
    size = size_of(part)
    if limit_bytes is not None and size > limit_bytes:
        for name in SCORED:
            if name not in needed:
                (part / "predictions" / f"{name}.parquet").unlink(missing_ok=True)
        size = size_of(part)
    if limit_bytes is not None and size > limit_bytes:
        shutil.rmtree(part)
        raise TooLargeError(f"{run.path}: expected at most {limit_bytes:,} bytes to keep, found {size:,}.")
    shutil.rmtree(target, ignore_errors=True)
    return part.rename(target)


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _environment(found: dict[str, Any], command: str) -> dict[str, Any]:
    sessions = [{**session, "command": command} for session in found.get("earlier_sessions", [])]
    return {**found, "command": command, **({"earlier_sessions": sessions} if sessions else {})}


def _splits(found: dict[str, Any]) -> dict[str, Any]:
    """Without ids of leaks; the test part's stay, for the score without them, unless the leak is the protocol."""
    leaky: dict[str, Any] = {}
    if found.get("protocol") == "leaky":
        leaky = {"leaked_test_ids": [], "leaked_test_count": len(found["leaked_test_ids"])}
    return {**found, "leaks": [{**leak, "ids": []} for leak in found.get("leaks", [])], **leaky}


def without_machine(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with paths that say nothing about a machine."""
    neutral = {"machine.runs_dir": "runs", "machine.cache_dir": None}
    shown = json.loads(json.dumps(config))
    for key in path_keys():
        section, name = key.split(".", 1)
        if shown.get(section, {}).get(name) is not None:
            shown[section][name] = neutral.get(key, placeholder(key, shown[section]))
    return shown


def placeholder(key: str, section: dict[str, Any]) -> str:
    """`~/fer2013` for a data set's folder, `~/<file name>` for any other path."""
    path = Path(section[key.split(".", 1)[1]])
    if key == "data.root":
        return f"~/{section['name']}{path.suffix if path.suffix == '.csv' else ''}"
    return f"~/{path.name}"


def without_paths(config: dict[str, Any]) -> RunConfig:
    """The checked configuration with every path left out."""
    plain = json.loads(json.dumps(config))
    for key in path_keys():
        section, name = key.split(".", 1)
        plain.get(section, {}).pop(name, None)
    return validate(plain)
