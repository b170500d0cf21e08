"""Candidates in processes of their own, which are stopped while another one is measured.

Threads, allocators and worker processes are settings of a process, so a peer runs with its defaults only in one that
we have set nothing in. Between its turns a candidate's whole process group is stopped (SIGSTOP): no spinning thread
and no worker that fetches ahead takes anything from the others.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .side_by_side import Measured, NotMeasuredError

HERE = Path(__file__).resolve()
ROOT = HERE.parents[len(__spec__.parent.split("."))] if __spec__ and __spec__.parent else HERE.parents[2]
PER_CORE = "images per core second"
TIMEOUT_S = 3 * 3600.0
_POLL_S = 0.02
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
)


def environment(**more: str) -> dict[str, str]:
    """Ours without what sets threads, so that everybody runs with the defaults that people have."""
    kept = {key: value for key, value in os.environ.items() if key not in _THREADS}
    path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, **more}


@dataclass
class Task:
    """A function in a process of its own, called with `Turns` and the arguments.

    Args:
        name: the row's.
        function: "module:function" of what can be imported there.
        arguments: plain values.
        log: where its output goes; its last line is the reason if it dies.
        python: the interpreter, for a peer that is installed in another environment.
        fresh: a new process for every round, whose value is the seconds from the command to the report.
        variables: of the process's environment, beside ours.
        watch_memory: add the peak of the group's memory (`peak_mib`), pages shared by processes counted once.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    log: Path
    python: str = sys.executable
    fresh: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    watch_memory: bool = False
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _answers: int = field(default=-1, init=False)
    _unread: bytes = field(default=b"", init=False)

    def measure(self) -> Measured:
        started = time.perf_counter()
        if self._process is None:
            self._start()
        assert self._process is not None
        self._signal(signal.SIGCONT)
        with _Watch(self._process.pid if self.watch_memory else None) as watch:
            if not self.fresh:
                self._expect("ready")
                cpu = cpu_s(self._process.pid)
            self._go()
            found = self._expect("value")
            seconds = time.perf_counter() - started
        if self.fresh:
            self.close()
            found["value"] = seconds
        else:
            self._add_cpu(found, cpu)
            self._signal(signal.SIGSTOP)
        if watch.peak_mib:
            found["peak_mib"] = watch.peak_mib
        return found

    def close(self) -> None:
        """End the whole group."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            if self._process.stdin:
                with suppress(OSError):
                    self._process.stdin.close()
            os.close(self._answers)
            self._process, self._unread = None, b""

    def _start(self) -> None:
        self._answers, says = os.pipe()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # In a group of our own session: if we die, the system wakes and ends a stopped one (SIGHUP, SIGCONT).
        with self.log.open("ab") as log:
            worker = [self.python, "-m", f"{__package__}.worker", self.function, str(says)]
            try:
                self._process = subprocess.Popen(
                    [*worker, json.dumps(dict(self.arguments))],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(says,),
                    process_group=0,
                    env=environment(**self.variables),
                    cwd=self.log.parent,
                )
            except OSError as error:
                os.close(self._answers)
                raise NotMeasuredError(f"{Path(self.python).name} can't be run: {error.strerror}") from error
            finally:
                os.close(says)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _go(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: _expect says why
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()

    def _expect(self, key: str) -> dict[str, Any]:
        """The next message with `key`."""
        while True:
            message = self._message()
            if "missing" in message:
                raise NotMeasuredError(str(message["missing"]))
            if key in message:
                return message

    def _message(self) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT_S
        while b"\n" not in self._unread:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise NotMeasuredError(f"not done after {TIMEOUT_S / 3600:g} hours")
            read = os.read(self._answers, 65536)
            if not read:
                raise NotMeasuredError(f"failed: {self._last_words()}")
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"

    def _add_cpu(self, found: dict[str, Any], before: float | None) -> None:
        assert self._process is not None
        after = cpu_s(self._process.pid)
        if before is not None and after is not None and "images" in found and after > before:
            found[PER_CORE] = found["images"] / (after - before)
        found.pop("images", None)


class _Watch:
    """Follows the memory of a process group from a thread."""

    def __init__(self, group: int | None) -> None:
        self.peak_mib = 0.0
        self._group = group
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "_Watch":
        if self._group is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        assert self._group is not None
        while not self._over.wait(_POLL_S):
            self.peak_mib = max(self.peak_mib, memory_mib(self._group) or 0.0)


def _members(group: int) -> list[Path]:
    """The /proc folders of a group's processes; none where there is no /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[2]) == group:
                found.append(stat.parent)
    return found


def cpu_s(group: int) -> float | None:
    """Processor seconds that a group's processes, and those that they have waited for, have used (proc(5), stat)."""
    ticks, known = 0, False
    for folder in _members(group):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            known = True
    return ticks / os.sysconf("SC_CLK_TCK") if known else None


def memory_mib(group: int) -> float | None:
    """Proportional set size of a group's processes: resident, each shared page divided by those that share it."""
    kib, known = 0, False
    for folder in _members(group):
        with suppress(OSError):
            for line in (folder / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kib += int(line.split()[1])
                    known = True
    return kib / 1024 if known else None


@dataclass
class Command:
    """A command line whose seconds from start to end are measured."""

    name: str
    command: list[str]
    log: Path

    def measure(self) -> Measured:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            started = time.perf_counter()
            done = subprocess.run(
                self.command, stdout=log, stderr=log, env=environment(), cwd=self.log.parent, check=False
            )
        if done.returncode:
            raise NotMeasuredError(f"failed with exit code {done.returncode}, see {self.log.name}")
        return {"value": time.perf_counter() - started}

    def close(self) -> None:
        pass
