"""The sweep folder: what `jobs.json` holds, writing and reading it. The table is made by `emotion.reporting.sweep`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion import atomic, formats
from emotion.errors import RunError
from emotion.runs import JOBS, RunFolder

if TYPE_CHECKING:
    from emotion.training.jobs import Job

FORMAT = 1
SWEEPS = "sweeps"  # the folder beside that of the runs


@dataclass(frozen=True)
class SweepFolder:
    """A sweep on disk: `jobs.json` says which runs belong to it."""

    path: Path
    jobs: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> SweepFolder:
        """The folder of these jobs, which `write` makes: sweeps/<hash8 of the sorted identities>/ beside the runs."""
        digest = hashlib.sha256("\n".join(sorted(job.identity for job in jobs)).encode()).hexdigest()
        path = jobs[0].runs_dir.parent / SWEEPS / digest[:8]
        entries = (
            {
                "identity": job.identity,
                "configuration": job.without_fold,
                "folder": os.path.relpath(job.folder.path, path),
                "overrides": list(job.overrides),
                "choices": job.choices,
            }
            for job in jobs
        )
        return cls(path, tuple(entries))

    @classmethod
    def open(cls, path: str | Path) -> SweepFolder:
        """
        Raises:
            RunError: no sweep lies there, or one of an unknown format.
        """
        path = Path(path).expanduser().resolve()
        try:
            found = json.loads((path / JOBS).read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(
                f"expected a sweep folder (with {JOBS}), found none in {path}: {error}."
            ) from error
        if isinstance(found, dict):
            formats.require(path / JOBS, found, FORMAT)
        if not isinstance(found, dict) or not isinstance(found.get("jobs"), list):
            raise RunError(f"expected the list of a sweep's jobs in {path / JOBS}, found something else.")
        return cls(path, tuple(found["jobs"]))

    def write(self) -> None:
        atomic.write_json(self.path / JOBS, {**formats.stamp(FORMAT), "jobs": self.jobs})

    def run(self, job: dict[str, Any]) -> RunFolder:
        return RunFolder((self.path / job["folder"]).resolve())

    def runs(self) -> list[RunFolder]:
        """Those that have begun."""
        return [run for run in map(self.run, self.jobs) if run.file("status.json").is_file()]

    def swept(self) -> list[str]:
        """The keys in which jobs differ, in the order typed; the fold only where some have folds and some have none."""
        keys = dict.fromkeys(key for job in self.jobs for key in job["choices"] if key != "fold")
        found = [k for k in keys if len({job["choices"].get(k) for job in self.jobs}) > 1]
        mixed = len({job["choices"].get("fold", "null") == "null" for job in self.jobs}) > 1
        return [*found, "fold"] if mixed else found


def find(sweeps_dir: Path) -> list[Path]:
    """The folders of the sweeps in a folder, newest first, readable or not."""
    files = sorted(sweeps_dir.glob(f"*/{JOBS}"), key=lambda file: file.stat().st_mtime, reverse=True)
    return [file.parent for file in files]


def beside(run: RunFolder) -> list[Path]:
    """The folders of the sweeps that a run may belong to, newest first."""
    return find(run.path.parent.parent / SWEEPS)
