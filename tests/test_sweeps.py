"""The sweep folder on disk."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emotion.errors import RunError
from emotion.runs import RunFolder
from emotion.sweeps import SweepFolder, beside, find


def jobs(place: Path, *identities: str) -> list[Any]:
    return [
        SimpleNamespace(
            identity=identity,
            without_fold="c" * 64,
            folder=RunFolder(place / "runs" / identity),
            runs_dir=place / "runs",
            overrides=("++seed=1",),
            choices={"seed": "1"},
        )
        for identity in identities
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = SweepFolder.of(jobs(tmp_path, "b", "a"))
    assert made.path == tmp_path / "sweeps" / "7e18f737"  # sha256 of "a\nb", whatever the order: as released
    made.write()
    found = SweepFolder.open(made.path)
    assert [found.run(job).path for job in found.jobs] == [tmp_path / "runs" / name for name in "ba"]
    assert found.runs() == []  # none has begun
    assert set(found.jobs[0]) == {"identity", "configuration", "folder", "overrides", "choices"}


def test_a_run_s_sweeps_are_found_newest_first(tmp_path: Path) -> None:
    first, second = (SweepFolder.of(jobs(tmp_path, *names)) for names in ("ab", "bc"))
    for second_s, sweep in enumerate((second, first)):
        sweep.write()
        os.utime(sweep.path / "jobs.json", (second_s, second_s))
    (tmp_path / "sweeps" / "none").mkdir()
    assert (
        beside(RunFolder(tmp_path / "runs" / "b")) == find(tmp_path / "sweeps") == [first.path, second.path]
    )
    assert find(tmp_path / "nowhere") == []


@pytest.mark.parametrize("text", ["[]", '{"format": 1}', "{"])
def test_a_broken_list_of_jobs_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "jobs.json").write_text(text)
    with pytest.raises(RunError, match="jobs.json"):
        SweepFolder.open(tmp_path)


def test_an_unknown_format_names_the_version_that_reads_it(tmp_path: Path) -> None:
    sweep = SweepFolder.of(jobs(tmp_path, "a"))
    sweep.write()
    written = json.loads((sweep.path / "jobs.json").read_text())
    (sweep.path / "jobs.json").write_text(json.dumps({**written, "format": 2}))
    said = rf"expected format 1, found format 2\. It needs emotion {written['version']} or a later one"
    with pytest.raises(RunError, match=said):
        SweepFolder.open(sweep.path)
