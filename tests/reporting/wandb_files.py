"""Reads the transaction log that W&B writes offline: LevelDB's log format behind a header, protobuf records inside."""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as messages

BLOCK, HEADER = 32768, 7
FULL, LAST = 1, 4


@dataclass
class Shown:
    """What W&B's server would get of one run."""

    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    exit_code: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, list[list[str]]] = field(default_factory=dict)
    folder: Path = Path()

    def table(self, key: str) -> dict[str, Any]:
        """The columns and the data of a table that was logged last under `key`."""
        row = next(row for row in reversed(self.history) if f"{key}.path" in row)
        return json.loads((self.folder / "files" / row[f"{key}.path"]).read_text())


def records(path: Path) -> list[Any]:
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    found, part, at = [], b"", HEADER
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        part += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            found.append(messages.Record.FromString(part))
            part = b""
    return found


def entries_of(artifact: Any) -> list[str]:
    """The files of an artifact; the manifest of a large one lies in a file of its own."""
    return [entry.path for entry in artifact.manifest.contents]


def read(path: Path) -> Shown:
    """One offline run."""
    shown = Shown(folder=path.parent)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        content = getattr(record, kind)
        if kind == "run":
            shown.id, shown.name, shown.group = content.run_id, content.display_name, content.run_group
            shown.job_type, shown.project = content.job_type, content.project
            shown.config = {item.key: json.loads(item.value_json) for item in content.config.update}
        elif kind == "history":
            items = {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in content.item}
            shown.history.append(items)
        elif kind == "summary":
            shown.summary |= {
                ".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in content.update
            }
        elif kind == "artifact" or (
            kind == "request" and content.WhichOneof("request_type") == "log_artifact"
        ):
            artifact = content if kind == "artifact" else content.log_artifact.artifact
            shown.artifacts.setdefault(artifact.type, []).append(entries_of(artifact))
        elif kind == "exit":
            shown.exit_code = content.exit_code
    return shown


def shown_in(folder: Path) -> list[Shown]:
    """The offline runs below a run's or a sweep's folder, once W&B's own process has written their ends."""
    deadline = time.monotonic() + 60
    while True:
        found = [read(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]
        if all(run.exit_code is not None for run in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)
