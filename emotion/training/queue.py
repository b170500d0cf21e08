"""The queue behind `-m`: jobs as processes on slots, resumable, with a table at the end. Imports no torch.

Every job is its own process, forked from a server that has imported everything and computed nothing: it starts in
milliseconds, sees one GPU only, and its death harms no other. What is finished is skipped and what is unfinished is
continued, because that is what a run does by itself.
"""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from emotion.errors import ConfigError, EmotionError, RunError
from emotion.schema import RunConfig, validate
from emotion.schema.machine import LoggerConfig, WandbLogger
from emotion.sweeps import SweepFolder
from emotion.training import environment
from emotion.training.folder import HeldError, Status, locked, new_attempt, now, put_back, read_status
from emotion.training.jobs import Job, Wanted, prepared

BUSY_EXIT = 75  # EX_TEMPFAIL of sysexits.h: another process holds the run
_POLL_S = 2.0
_ASKED, _GRACE_S = 4, 5.0  # times, and how long each time
_SAID = 16_000  # characters; a pipe that nobody reads before the end holds 64 KiB


def run_sweep(wanted: Sequence[Wanted]) -> bool:
    """Do all jobs, print the table, and say whether all are finished.

    Raises:
        ConfigError: a job has a problem; nothing was started.
        RunError: the same sweep is being run by another process, or the wanted GPU isn't there.
    """
    try:
        jobs = prepared(wanted)
    except ConfigError as error:
        raise ConfigError(f"Nothing was started.\n{error}") from error
    machine = jobs[0].config.machine
    free = slots(machine.devices, machine.jobs)
    sweep = SweepFolder.of(jobs)
    with locked(sweep.path):
        sweep.write()
        states = Queue(jobs, free, sweep=sweep.path).run()
        _show(sweep, states, jobs[0].config.same_command)
        _show_in_wandb(sweep, jobs)
    return all(state == "finished" for state in states.values())


def slots(devices: int | str = "auto", jobs: int = 1) -> list[dict[str, str]]:
    """The environment of each slot: `jobs` for each visible GPU, or for the CPU.

    Args:
        devices: `machine.devices`: cpu is one device without a GPU, a number the device that is that GPU.
        jobs: `machine.jobs`.
    """
    if devices in ("cpu", "mps"):
        return [{"CUDA_VISIBLE_DEVICES": ""}] * jobs
    gpus = _visible_gpus()
    if isinstance(devices, int):
        if devices >= len(gpus):
            raise RunError(
                f"machine.devices={devices}: expected one of the {len(gpus)} GPUs that are visible, auto or cpu."
            )
        gpus = [gpus[devices]]
    return ([{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [{}]) * jobs


def _visible_gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return re.findall(r"^GPU (\d+):", listed.stdout, re.MULTILINE) if listed.returncode == 0 else []


def _start_server() -> None:
    """Start the fork server so that it imports this code and no other installation of it: it ignores `sys.path`.

    Ctrl-C, which a terminal sends to it too, is for the queue, with which it ends; what it forks inherits that.
    """
    ours = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    changed = {
        "PYTHONPATH": ours.rstrip(os.pathsep),
        "PYTHONSAFEPATH": "1",
    }  # the latter: not the current folder's
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    resource_tracker.ensure_running()  # else the server does it, and unblocks the signal then
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and `kill` wait until what is done here is done."""
    heard: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is signal.default_int_handler}
    for number in before:
        signal.signal(number, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            raise KeyboardInterrupt


class Queue:
    """Runs jobs on slots. A failing job stops no other; Ctrl-C ends the children and says what is left.

    Args:
        finished: called with each job that is finished, as soon as it is.
        sweep: the folder of the sweep that the jobs are.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        slots: Sequence[dict[str, str]],
        finished: Callable[[Job], None] = lambda job: None,
        sweep: Path | None = None,
    ) -> None:
        self.jobs = list(jobs)
        self.slots = list(slots)
        self.finished = finished
        self.sweep = sweep
        self.states = {job.identity: state_of(job) for job in self.jobs}
        self.failures: dict[str, str] = {}
        self.held: set[str] = set()

    def run(self) -> dict[str, str]:
        """The state of every job by its identity, once nothing more can be done."""
        left = {job.identity for job in self.jobs if self._to_do(job)}
        todo = [job for job in self.jobs if job.identity in left]
        done = [job for job in self.jobs if job.identity not in left]
        if done:
            print(f"{len(done)} of {len(self.jobs)} jobs are finished already.", flush=True)
        for job in done:
            self.finished(job)
        if not todo:
            return self.states
        renewed = {job.identity for job in todo if job.config.force and _renewed(job)}
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["emotion.training.warm"])
        free = list(self.slots)
        at_once = min(len(free), len(todo))
        busy: dict[Any, _Running] = {}
        waiting = list(todo)
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # no job outlives its queue
        try:
            _start_server()
            while waiting or busy:
                while waiting and free:
                    job, slot = waiting.pop(0), free.pop(0)
                    prefix = f"[{self.jobs.index(job) + 1}/{len(self.jobs)}] "
                    says, heard = context.Pipe(duplex=False)[::-1]
                    plain = job.config.plain()
                    plain["force"] &= job.identity not in renewed
                    process = context.Process(
                        target=_child,
                        args=(plain, slot, at_once, prefix, says, self.sweep),
                        name=job.folder.name,
                    )
                    with _undisturbed():  # half-started, it would be nobody's
                        process.start()
                        busy[process.sentinel] = _Running(process, job, slot, heard)
                    says.close()
                for sentinel in wait(list(busy), timeout=_POLL_S):
                    ended = busy.pop(sentinel)
                    ended.process.join()
                    free.append(ended.slot)
                    if ended.process.exitcode == BUSY_EXIT:
                        self._wait_for(ended)
                        waiting.append(ended.job)
                    else:
                        self._ended(ended)
        except BaseException as error:
            _stop(list(busy.values()))
            if not isinstance(error, KeyboardInterrupt):
                raise
            unfinished = [job for job in self.jobs if state_of(job) != "finished"]
            print(
                f"\nInterrupted: {len(unfinished)} of {len(self.jobs)} jobs are left. "
                f"{self.jobs[0].config.same_command} continues.",
                flush=True,
            )
            raise SystemExit(130) from None
        finally:
            signal.signal(signal.SIGTERM, before)
        return self.states

    def _to_do(self, job: Job) -> bool:
        folder = job.folder
        if self.states[job.identity] != "finished" or not folder.whole or job.config.force:
            return True
        return job.config.evaluation.test and not folder.tested

    def _wait_for(self, held: "_Running") -> None:
        """Someone else runs this job: say who, once, and don't ask again at once."""
        said = held.said()
        if held.job.identity not in self.held:
            print(f"Waiting: {said}", file=sys.stderr, flush=True)
            self.held.add(held.job.identity)
        time.sleep(_POLL_S)

    def _ended(self, ended: "_Running") -> None:
        job, code = ended.job, ended.process.exitcode
        state = state_of(job)
        if code == 0 and state == "finished":
            self.states[job.identity] = state
            self.finished(job)
            return
        same = job.config.same_command
        said = _killed(-code, same) if code is not None and code < 0 else ended.said() or message_of(job)
        said = said or f"it was interrupted. {same} continues it."
        self.states[job.identity] = "failed"
        self.failures[job.identity] = said
        _note_failure(job, said)
        print(f"FAILED {job.folder.name}: {said.strip().splitlines()[-1]}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Running:
    process: ForkServerProcess
    job: Job
    slot: dict[str, str]
    heard: Connection

    def said(self) -> str:
        """What the job told before it ended."""
        with suppress(EOFError):
            return str(self.heard.recv()) if self.heard.poll() else ""
        return ""


def _stop(left: Sequence[_Running]) -> None:
    """The terminal has sent its signal to the children too; whoever doesn't end by it is asked again, then made to."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # one more Ctrl-C is for the children
    for _ in range(_ASKED):
        left = [running for running in left if running.process.is_alive()]
        for running in left:
            assert running.process.pid is not None
            with suppress(ProcessLookupError):
                os.kill(running.process.pid, signal.SIGINT)
        deadline = time.monotonic() + _GRACE_S
        for running in left:
            running.process.join(max(0.0, deadline - time.monotonic()))
    for running in left:
        running.process.kill()
        running.process.join()
    signal.signal(signal.SIGINT, before)


def _renewed(job: Job) -> bool:
    """Whether a job that is forced has an empty folder now, before the first begins: what is left can be told then."""
    try:
        with locked(job.folder.path):
            put_back(job.folder)
            if read_status(job.folder) is not None:
                new_attempt(job.folder)
    except HeldError:
        return False  # its own process waits for the other one
    return True


def _note_failure(job: Job, said: str) -> None:
    """Into the run's status, for jobs that died before they could, or that could not begin."""
    if state_of(job) == "finished":  # only a report or the test part was to be added
        return
    with suppress(OSError):
        if job.folder.file("status.json").is_file():
            Status.amend(job.folder, state="failed", message=said)
        else:
            Status(job.folder, identity=job.identity, hash8=job.identity[:8], attempt=1, started=now(), epoch=0,
                   epochs=job.config.trainer.max_epochs).update(state="failed", message=said)  # fmt: skip


def _killed(number: int, same_command: str) -> str:
    name = signal.Signals(number).name
    why = {
        "SIGKILL": "by the system, most likely because memory ran out: a smaller data.batch_size, fewer "
        "machine.workers or a smaller model.input_size needs less",
        "SIGBUS": "because a file was cut while it was mapped: check the disk of machine.cache_dir",
    }.get(name, "from outside")
    return f"killed by {name}, {why}. {same_command} continues it."


def state_of(job: Job) -> str:
    """finished, failed, interrupted, running (by its own word) or new."""
    try:
        return str(job.folder.status["state"])
    except EmotionError:
        return "new"


def message_of(job: Job) -> str:
    with suppress(EmotionError):
        return str(job.folder.status.get("message") or "")
    return "it died before it had a folder"


def _child(
    plain: dict[str, Any],
    slot: dict[str, str],
    at_once: int,
    prefix: str,
    says: Connection,
    sweep: Path | None,
) -> None:
    """One job in its own process, one of so many at once. What goes wrong is told to the parent by `says`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(slot)
    machine = plain["machine"]
    if isinstance(machine["devices"], int):
        machine["devices"] = "cuda"  # the one that this process sees, whatever its number is outside
    machine["threads"] = environment.resolve_threads(machine["threads"], at_once)
    if slot.get("CUDA_VISIBLE_DEVICES"):
        machine["workers"] = environment.resolve_workers(machine["workers"], "cuda", at_once)
    from emotion.training.console import Log
    from emotion.training.folder import HeldError
    from emotion.training.train import train

    config: RunConfig = validate(plain)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the server has it blocked
        # libraries clean up their temporary files when Python exits, which a forked process never does
        with tempfile.TemporaryDirectory(prefix="emotion-") as tempfile.tempdir:
            train(config, Log(prefix=prefix), sweep)
    except HeldError as error:
        says.send(str(error)[-_SAID:])
        sys.exit(BUSY_EXIT)
    except EmotionError as error:
        says.send(str(error)[-_SAID:])
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        says.send(traceback.format_exc()[-_SAID:])
        sys.exit(1)


def _show_in_wandb(sweep: SweepFolder, jobs: Sequence[Job]) -> None:
    """The sweep's table as a W&B run of its own, where its jobs are shown in W&B."""
    logger = jobs[0].config.logger
    options = (
        [one for one in logger.chosen() if isinstance(one, WandbLogger)]
        if isinstance(logger, LoggerConfig)
        else []
    )
    if not options:
        return
    from emotion.reporting.wandb_view import sync_sweep

    try:
        print(f"wandb: {sync_sweep(sweep, options[0])}", flush=True)
    except Exception as error:  # the network above all: no reason for a finished sweep to fail
        print(f"The table is not in W&B. {error}", file=sys.stderr)


def _show(sweep: SweepFolder, states: dict[str, str], same_command: str) -> None:
    from emotion.reporting.sweep import write_tables

    table = write_tables(sweep)
    print(table)
    failed = sum(state != "finished" for state in states.values())
    if failed:
        print(f"{failed} of {len(states)} jobs did not finish. {same_command} tries them again.")
    print(sweep.path, flush=True)
