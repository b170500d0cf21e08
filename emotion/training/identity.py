"""What makes two runs the same run: a hash of the configuration and of the data, not of the machine."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from emotion.errors import ConfigError, RunError
from emotion.runs import RunFolder
from emotion.schema import GROUPS, RunConfig, path_key

_NOT_IDENTITY = frozenset({"machine", "logger", "force", "name"})
# keys of a nested group that enter at their default too, where another one differs: they did in released identities
_TOGETHER = frozenset({("callbacks.early_stopping", "patience"), ("callbacks.early_stopping", "min_delta")})
_NOT_IDENTITY_KEYS = frozenset({("evaluation", "test"), ("evaluation", "batch_size")})


def essence(config: RunConfig, fingerprint: str) -> dict[str, Any]:
    """The plain data that is hashed: what differs from the defaults, content digests for paths, the data's fingerprint.

    Keys at their default don't enter it, so that a later version's new key doesn't orphan older runs. The name of
    each group's choice always does.

    Args:
        fingerprint: of the prepared store.

    Raises:
        ConfigError: a file that is named can't be read.
        RunError: a run that is named isn't there or isn't finished.
    """
    kept: dict[str, Any] = {}
    for key in RunConfig.model_fields:
        if key in _NOT_IDENTITY:
            continue
        value = getattr(config, key)
        if key in GROUPS:
            section = _section(key, value)
            if section:
                kept[key] = section
        elif value != RunConfig.model_fields[key].default:
            kept[key] = value
    kept["data_fingerprint"] = fingerprint
    if config.fold is None:
        kept.pop("folds", None)
    else:
        kept["folds"] = config.folds
        kept.pop("val_fraction", None)  # a fold is the validation part
    return kept


def _section(group: str, section: BaseModel) -> dict[str, Any]:
    plain = section.model_dump(mode="json")
    kept: dict[str, Any] = {}
    for key, field in type(section).model_fields.items():
        value, default = getattr(section, key), field.get_default(call_default_factory=True)
        mark = path_key(field)
        if (group, key) in _NOT_IDENTITY_KEYS or (mark and mark.stands_for in ("data", "nothing")):
            continue
        if mark:
            if value is not None:
                digest_of = _content_digest if mark.stands_for == "content" else _run_identity
                kept[key] = digest_of(f"{group}.{key}", value)
        elif isinstance(value, BaseModel) and value != default:
            kept[key] = _section(f"{group}.{key}", value)
        elif key == "name" or (group, key) in _TOGETHER or value != default:
            kept[key] = plain[key]
    return kept


def check_sources(config: RunConfig) -> None:
    """Whether the files and the run that a configuration starts from are there, before hours of preparation.

    Raises:
        ConfigError: a file that is named can't be read.
        RunError: a run that is named isn't there or isn't finished.
    """
    essence(config, fingerprint="")


def _content_digest(key: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{key}: expected a file that can be read, found {path} ({error.strerror})."
        ) from error


def _run_identity(key: str, path: Path) -> str:
    try:
        run = RunFolder.open(path)
        status = run.status
    except RunError as error:
        raise RunError(f"{key}: {error}") from error
    if not run.finished:
        raise RunError(
            f"{key}: expected a finished run, found {run.path} in the state {status['state']}: its best weights may "
            "still change. The command that began it continues it."
        )
    return f"run:{status['identity']}"


def digest(essence: dict[str, Any]) -> str:
    """64 hexadecimal digits.

    >>> digest({"seed": 1, "fold": 0}) == digest({"fold": 0, "seed": 1})
    True
    """
    return hashlib.sha256(json.dumps(essence, sort_keys=True, allow_nan=False).encode()).hexdigest()
