"""Sweeps: `python train.py -m …`"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from emotion.cores import whole_cores
from emotion.errors import ConfigError, RunError
from emotion.launch import JobComposer, compose, conf_dir, prepare
from emotion.reporting.sweep import configurations, frame, notes, write_tables
from emotion.runs import RunFolder
from emotion.sweeps import SweepFolder
from emotion.training.jobs import Job, Wanted, prepared
from emotion.training.queue import _note_failure, slots
from tests.reporting import fakes
from tests.training.conftest import TINY as CONFIG_TINY

TRAIN = Path(__file__).parents[2] / "train.py"
TINY = (
    *(
        "data.count=140",
        "data.imbalance=0",
        "data.batch_size=16",
        "model=test_resnet",
        "trainer.max_epochs=1",
    ),
    *("trainer.precision=fp32", "machine.devices=cpu", "machine.threads=1", "machine.workers=0"),
)
SWEEP = ("fold=0,1", "folds=2", "loss.class_weights=none,balanced")

Launch = Callable[[list[str]], subprocess.Popen[str]]


def command(place: Path, cache: Path, *overrides: str) -> list[str]:
    here = (f"machine.runs_dir={place}/runs", f"machine.cache_dir={cache}")
    return [sys.executable, "-W", "ignore", str(TRAIN), "-m", *TINY, *here, *overrides]


def start(place: Path, cache: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        command(place, cache, *overrides), capture_output=True, text=True, env=env, check=False
    )


@pytest.fixture
def launched() -> Iterator[Callable[[list[str]], subprocess.Popen[str]]]:
    """Starts a command as a terminal does, in a process group of its own, and ends it with the test.

    Ctrl-C is heard even where the tests were started in the background, whose processes ignore it from birth.
    """
    started: list[subprocess.Popen[str]] = []

    def launch(arguments: list[str]) -> subprocess.Popen[str]:
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        before = signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # one that is handled isn't inherited
        try:
            started.append(
                subprocess.Popen(
                    arguments, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=env
                )
            )
        finally:
            signal.signal(signal.SIGINT, before)
        return started[-1]

    yield launch
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> tuple[Path, str]:
    place = tmp_path_factory.mktemp("undisturbed")
    done = start(place, cache_dir, *SWEEP)
    assert done.returncode == 0, done.stderr
    return place, done.stdout


def only(place: Path) -> SweepFolder:
    (found,) = (place / "sweeps").iterdir()
    return SweepFolder.open(found)


def runs(place: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted((place / "runs").iterdir()) if path.name != "latest"]


def test_every_combination_is_a_finished_run(undisturbed: tuple[Path, str]) -> None:
    place, printed = undisturbed
    found = [(run.config["fold"], run.config["loss"]["class_weights"], run.finished) for run in runs(place)]
    assert sorted(found) == [(f, w, True) for f in (0, 1) for w in ("balanced", "none")]
    assert Path(printed.splitlines()[-1]) == only(place).path
    assert all(run.metrics["version"] == run.status["version"] for run in runs(place))


def test_the_table_has_a_row_a_configuration_ranked_by_validation(undisturbed: tuple[Path, str]) -> None:
    place, printed = undisturbed
    table = frame(only(place))
    assert table["loss.class_weights"].sort().to_list() == ["balanced", "none"]
    assert table["jobs"].to_list() == table["finished"].to_list() == [2, 2]
    assert table["accuracy"].is_sorted(descending=True)
    for row in table.iter_rows(named=True):
        scores = [
            run.metrics["val"]
            for run in runs(place)
            if run.config["loss"]["class_weights"] == row["loss.class_weights"]
        ]
        for name in ("accuracy", "balanced_accuracy", "f1_macro", "f1/anger"):
            values = [s[name] for s in scores]
            assert row[name] == pytest.approx(sum(values) / 2)
            assert row[f"{name}_sd"] == pytest.approx(pl.Series(values).std() or 0.0)
    assert "Selected on this fold" in printed
    assert not [column for column in table.columns if "test" in column]
    assert [column for column in frame(only(place), test=True).columns if column.startswith("test_accuracy")]


def test_the_pooled_confusion_holds_each_image_once(undisturbed: tuple[Path, str]) -> None:
    place, _ = undisturbed
    (one, other) = configurations(only(place))
    for configuration in (one, other):
        assert configuration.pooled is not None
        assert len(set(configuration.pooled.ids)) == len(configuration.pooled)
        ids = {sample for table in configuration.validation for sample in table.ids}
        assert set(configuration.pooled.ids) == ids
        assert not ids & set(configuration.tables_of("test")[0].ids)


def test_killed_in_its_second_job_and_typed_again(
    undisturbed: tuple[Path, str], tmp_path: Path, cache_dir: Path, launched: Launch
) -> None:
    """The whole process group, as when a machine reboots; the tables must come out byte for byte the same."""
    process = launched(command(tmp_path, cache_dir, *SWEEP))
    for line in process.stdout or ():
        if line.startswith("[2/4] ") and "fp32" in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert sum(run.finished for run in runs(tmp_path)) == 1
    done = start(tmp_path, cache_dir, *SWEEP)
    assert done.returncode == 0, done.stderr
    assert "1 of 4 jobs are finished already." in done.stdout
    first, second = only(undisturbed[0]), only(tmp_path)
    assert first.path.name == second.path.name
    for name in ("table.csv", "table.md"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_a_finished_sweep_starts_nothing(undisturbed: tuple[Path, str], cache_dir: Path) -> None:
    place, printed = undisturbed
    before = {run.name: run.file("status.json").stat().st_mtime_ns for run in runs(place)}
    done = start(place, cache_dir, *SWEEP)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 jobs are finished already." in done.stdout
    assert before == {run.name: run.file("status.json").stat().st_mtime_ns for run in runs(place)}
    assert done.stdout.splitlines()[-1] == printed.splitlines()[-1]


def test_a_failing_job_stops_no_other(tmp_path: Path, cache_dir: Path) -> None:
    diverging = ["optimizer=sgd", "optimizer.lr=1e30,1e-3", "optimizer.nesterov=false"]
    done = start(tmp_path, cache_dir, *diverging, "trainer.precision=auto")
    assert done.returncode == 1
    (settled,) = json.loads((only(tmp_path).path / "measured.json").read_text()).values()
    assert {run.environment["precision"] for run in runs(tmp_path)} == {settled}
    assert sorted(run.status["state"] for run in runs(tmp_path)) == ["failed", "finished"]
    (failed,) = (run for run in runs(tmp_path) if not run.finished)
    assert "no longer a number" in failed.status["message"]
    assert "FAILED" in done.stderr
    assert "Failed: " + failed.name in done.stdout
    assert "1 of 2 jobs did not finish" in done.stdout


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (signal.SIGKILL, "killed by SIGKILL, by the system, most likely because memory ran out"),
        (signal.SIGTERM, "it was interrupted. The same command continues it."),
    ],
)
def test_a_job_that_is_killed_says_so_and_stops_no_other(
    tmp_path: Path, cache_dir: Path, launched: Launch, by: signal.Signals, said: str
) -> None:
    process = launched(command(tmp_path, cache_dir, "seed=0,1", "trainer.max_epochs=30"))
    for line in process.stdout or ():
        if line.startswith("[1/2] epoch"):
            lock = json.loads((runs(tmp_path)[0].path / "lock").read_text())
            os.kill(lock["pid"], by)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said in errors
    assert sorted(run.status["state"] for run in runs(tmp_path)) == ["failed", "finished"]


def test_a_job_leaves_no_temporary_files(tmp_path: Path, cache_dir: Path) -> None:
    """W&B's tables and files among them; torch keeps what it compiled under its user's name."""
    with tempfile.TemporaryDirectory() as temporary:  # tmp_path is too long for the address of a socket
        done = start(tmp_path, cache_dir, "seed=0", "logger=wandb", "logger.mode=offline", TMPDIR=temporary)
        left = [path.name for path in Path(temporary).iterdir()]
    assert done.returncode == 0, done.stderr
    assert [name for name in left if not name.startswith("torchinductor_")] == []


def test_jobs_at_once_share_the_cores(tmp_path: Path, cache_dir: Path) -> None:
    here = [argument for argument in command(tmp_path, cache_dir) if argument != "machine.threads=1"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*here, "seed=0,1", "machine.jobs=2"], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [
        (run.environment["threads"], run.status["started"], run.status["finished"]) for run in runs(tmp_path)
    ]
    assert [threads for threads, *_ in found] == [max(1, whole_cores() // 2)] * 2
    assert max(started for _, started, _ in found) < min(finished for *_, finished in found)


def test_a_job_alone_has_the_cores_of_all_slots(tmp_path: Path, cache_dir: Path) -> None:
    here = [argument for argument in command(tmp_path, cache_dir) if argument != "machine.threads=1"]
    subprocess.run([*here, "seed=0", "machine.jobs=2"], capture_output=True, check=True)
    (found,) = runs(tmp_path)
    assert found.environment["threads"] == whole_cores()


def test_a_gpu_that_torch_cannot_use_is_no_reason_to_fail(tmp_path: Path, cache_dir: Path) -> None:
    """As where the driver is too old, or the variable is left over from another machine."""
    here = ["machine.devices=auto" if a == "machine.devices=cpu" else a for a in command(tmp_path, cache_dir)]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    done = subprocess.run([*here, "seed=0"], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = runs(tmp_path)
    assert found.status["state"] == "finished"


@pytest.mark.slow
def test_two_people_typing_the_same_sweep(tmp_path: Path, cache_dir: Path, launched: Launch) -> None:
    first = launched(command(tmp_path, cache_dir, "seed=0,1", "trainer.max_epochs=30"))
    next(line for line in first.stdout or () if line.startswith("[1/2] epoch"))
    second = start(tmp_path, cache_dir, "seed=0,1", "trainer.max_epochs=30")
    assert second.returncode == 1
    assert f"is being run by process {first.pid}" in second.stderr
    first.communicate(timeout=120)
    assert first.returncode == 0


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])  # Ctrl+C, and `kill` of the queue alone
def test_being_stopped_ends_the_children_and_says_what_is_left(
    tmp_path: Path, cache_dir: Path, launched: Launch, stop: signal.Signals
) -> None:
    process = launched(command(tmp_path, cache_dir, "seed=0,1", "trainer.max_epochs=400"))
    for line in process.stdout or ():
        if line.startswith("[1/2] epoch"):
            pid = json.loads((runs(tmp_path)[0].path / "lock").read_text())["pid"]
            (os.killpg if stop == signal.SIGINT else os.kill)(process.pid, stop)
            break
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "2 of 2 jobs are left. The same command continues." in printed
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_ctrl_c_while_the_jobs_modules_are_imported(
    tmp_path: Path, cache_dir: Path, launched: Launch, after_s: float
) -> None:
    process = launched(command(tmp_path, cache_dir, "seed=0,1", "trainer.max_epochs=400"))
    while not any(b"multiprocessing.forkserver" in line for line in session(process.pid).values()):
        time.sleep(0.01)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "2 of 2 jobs are left. The same command continues." in printed
    assert "Traceback" not in errors
    for _ in range(100):
        if not session(process.pid):
            break
        time.sleep(0.1)
    assert not session(process.pid)


def session(leader: int) -> dict[int, bytes]:
    """The command lines of the processes of a session."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, belongs = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(belongs) == leader and state != "Z":
                found[int(place.name)] = (place / "cmdline").read_bytes()
    return found


def test_a_forced_sweep_that_is_stopped_goes_on_without_force(
    undisturbed: tuple[Path, str], tmp_path: Path, cache_dir: Path, launched: Launch
) -> None:
    """What of it has not begun is left too, though an earlier attempt had finished it."""
    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    process = launched(command(tmp_path, cache_dir, *SWEEP, "force=true"))
    for line in process.stdout or ():
        if line.startswith("[1/4] epoch"):
            os.killpg(process.pid, signal.SIGINT)
            break
    printed, _ = process.communicate(timeout=120)
    assert "4 of 4 jobs are left. The same command without force=true continues." in printed
    done = start(tmp_path, cache_dir, *SWEEP)
    assert done.returncode == 0, done.stderr
    assert "finished already" not in done.stdout
    assert all((run.path / "attempts" / "1" / "status.json").is_file() for run in runs(tmp_path))


def test_weights_to_start_from_that_are_gone_are_said_before_anything_starts(
    tmp_path: Path, cache_dir: Path
) -> None:
    source = fakes.make_run(tmp_path / "earlier")
    overrides = (*TINY, f"model.init_from={source.path}", f"machine.cache_dir={cache_dir}")
    with pytest.raises(
        ConfigError, match=r"model\.init_from: expected a run with its weights, found that .* has none"
    ):
        prepared([Wanted(overrides, compose([*overrides]))])
    source.checkpoint("best").parent.mkdir(exist_ok=True)
    source.checkpoint("best").write_bytes(b"weights")
    assert len(prepared([Wanted(overrides, compose([*overrides]))])) == 1


@pytest.mark.parametrize("wrong", ["trainer.max_epoch=1,2", "loss=cross_entropy,focl", "fold=0,9"])
def test_a_problem_in_one_job_starts_none(tmp_path: Path, cache_dir: Path, wrong: str) -> None:
    done = start(tmp_path, cache_dir, wrong)
    assert done.returncode == 2
    assert "Nothing was started." in done.stderr
    assert wrong.split("=")[0] in done.stderr
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=resnet34", "seed=3"],
        ["data=fer2013", "data.root=/a b/c,d", "loss=focal", "loss.gamma=1.5"],
        ["experiment=demo", "trainer.max_epochs=3", "fold=2"],
        ["experiment=demo", "augment=strong", "augment.rotate_deg=5"],
        ["name=it's (mine)", "optimizer=adam", "optimizer.betas=[0.8,0.9]"],
    ],
)
def test_jobs_compose_as_single_runs_do(overrides: list[str]) -> None:
    from hydra import initialize_config_dir

    expected = compose(overrides)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert JobComposer()(prepare(overrides)) == expected  # as Hydra hands it on


def test_a_folder_of_one_s_own_counts_in_sweeps_too(tmp_path: Path, cache_dir: Path) -> None:
    (tmp_path / "lab" / "model").mkdir(parents=True)
    (tmp_path / "lab" / "experiment").mkdir()
    (tmp_path / "lab" / "model" / "ours.yaml").write_text(
        "defaults: [_network]\nname: resnet18\ndrop_rate: 0.3\n"
    )
    (tmp_path / "lab" / "experiment" / "few.yaml").write_text(
        "# @package _global_\ntrainer: {limit_train_batches: 1}\n"
    )
    line = [argument for argument in command(tmp_path, cache_dir) if argument != "model=test_resnet"]
    done = subprocess.run(
        [*line[:5], f"--config-dir={tmp_path}/lab", *line[5:], "model=ours", "experiment=few", "seed=0,1"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [
        (run.config["model"]["drop_rate"], run.config["trainer"]["limit_train_batches"])
        for run in runs(tmp_path)
    ]
    assert found == [(0.3, 1), (0.3, 1)]


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("optimizer.lr=interval(0,1)", "expected values with commas"),
        ("model=glob(resnet*)", "expected values with commas"),
        ("model=resnet*", "expected a network"),
    ],
)
def test_what_can_t_be_swept_is_said(tmp_path: Path, cache_dir: Path, axis: str, said: str) -> None:
    done = start(tmp_path, cache_dir, axis)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_experiment_is_swept_with_other_choices(tmp_path: Path, cache_dir: Path) -> None:
    done = start(
        tmp_path, cache_dir, "experiment=demo", "augment=none", "seed=0,1", "trainer.limit_train_batches=0.01"
    )
    assert done.returncode == 0, done.stderr  # a hundredth of 7 batches is one
    assert [run.config["augment"] for run in runs(tmp_path)] == [{"name": "none"}] * 2


def test_tables_can_be_written_anew(undisturbed: tuple[Path, str]) -> None:
    sweep = only(undisturbed[0])
    before = (sweep.path / "table.csv").read_bytes()
    (sweep.path / "table.csv").unlink()
    write_tables(sweep)
    assert (sweep.path / "table.csv").read_bytes() == before
    assert "Out-of-fold confusion" in (sweep.path / "table.html").read_text()


@pytest.mark.slow
def test_a_job_that_another_sweep_holds_is_waited_for(
    tmp_path: Path, cache_dir: Path, launched: Launch
) -> None:
    first = launched(command(tmp_path, cache_dir, "seed=0", "trainer.max_epochs=30"))
    next(line for line in first.stdout or () if line.startswith("[1/1] epoch"))
    second = start(tmp_path, cache_dir, "seed=0,1", "trainer.max_epochs=30")
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert second.returncode == 0, second.stderr
    assert [run.finished for run in runs(tmp_path)] == [True, True]
    assert [run.status["attempt"] for run in runs(tmp_path)] == [1, 1]


def test_what_can_t_be_split_is_said_before_anything_starts(tmp_path: Path, cache_dir: Path) -> None:
    done = start(tmp_path, cache_dir, "folds=30", "fold=0,1")
    assert done.returncode == 2
    assert "Nothing was started." in done.stderr
    assert "folds=30" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_gpu_that_isn_t_there_is_said_before_anything_starts(tmp_path: Path, cache_dir: Path) -> None:
    done = start(tmp_path, cache_dir, "machine.devices=7", "seed=0")
    assert done.returncode == 1
    assert "expected one of the 0 GPUs" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_folds_and_a_hold_out_are_told_apart(tmp_path: Path) -> None:
    jobs = [
        {
            "configuration": "held" if fold == "null" else "folds",
            "folder": f"../runs/{fold}",
            "choices": {"fold": fold},
        }
        for fold in ("null", "0", "1")
    ]
    assert [one.name() for one in configurations(SweepFolder(tmp_path, tuple(jobs)))] == [
        "fold=null",
        "fold=0,1",
    ]


def test_runs_of_two_precisions_are_marked(tmp_path: Path) -> None:
    made = [fakes.make_run(tmp_path / "runs", seed=seed) for seed in (0, 1)]
    jobs = [{"configuration": str(n), "folder": f"../runs/{run.name}", "choices": {"seed": str(n)}}
            for n, run in enumerate(made)]  # fmt: skip
    sweep = SweepFolder(tmp_path / "sweep", tuple(jobs))
    assert not any("trained in" in note for note in notes(sweep))
    made[1].file("environment.json").write_text(json.dumps(made[1].environment | {"precision": "bf16"}))
    assert "Runs were trained in bf16 and fp32: some of a difference may be the precision's." in notes(sweep)
    made[1].file("environment.json").write_text("{")
    assert not any("trained in" in note for note in notes(sweep))  # an unreadable run hides no other


def test_a_job_that_died_before_it_had_a_configuration_is_in_the_table(tmp_path: Path) -> None:
    job = {"configuration": "c", "folder": "../runs/one", "choices": {}}
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "jobs.json").write_text(json.dumps({"format": 1, "jobs": [job]}))
    (tmp_path / "runs" / "one").mkdir(parents=True)
    status = {"format": 1, "state": "failed", "message": "no such device"}
    (tmp_path / "runs" / "one" / "status.json").write_text(json.dumps(status))
    said = write_tables(SweepFolder.open(tmp_path / "sweep"))
    assert "0/1" in said
    assert "Failed: one: no such device" in said


def test_alike_jobs_run_once_and_that_is_said(tmp_path: Path, cache_dir: Path) -> None:
    done = start(tmp_path, cache_dir, "name=one,two")
    assert done.returncode == 0, done.stderr
    assert "2 jobs were typed, 1 of them different" in done.stdout
    assert len(runs(tmp_path)) == 1


LISTED = """GPU 0: NVIDIA A100 (UUID: GPU-1)
  MIG 3g.20gb Device 0: (UUID: MIG-1)
  MIG 3g.20gb Device 1: (UUID: MIG-2)
GPU 1: NVIDIA A100 (UUID: GPU-2)
"""


def test_a_slot_is_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def lists(text: str, code: int) -> None:
        program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{text}EOF\nexit {code}\n")
        program.chmod(0o755)

    lists(LISTED, 0)
    assert slots() == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert slots(1) == [{"CUDA_VISIBLE_DEVICES": "1"}]
    assert slots("cpu") == [{"CUDA_VISIBLE_DEVICES": ""}]
    assert slots("cpu", 2) == [{"CUDA_VISIBLE_DEVICES": ""}] * 2
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots("auto", 2)] == ["0", "1", "0", "1"]
    lists("NVIDIA-SMI has failed because it couldn't communicate with the driver.\nGPU 0: no\n", 9)
    assert slots() == [{}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert slots() == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    with pytest.raises(RunError, match="machine.devices=2: expected one of the 2 GPUs"):
        slots(2)


@pytest.mark.slow
def test_jobs_run_the_code_that_was_started_and_no_other_installation(
    tmp_path: Path, cache_dir: Path
) -> None:
    copy = tmp_path / "copy"
    root = TRAIN.parent
    for folder in ("emotion", "conf", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(root / folder, copy / folder, ignore=ignored)
    shutil.copy(TRAIN, copy)
    with (copy / "emotion" / "training" / "warm.py").open("a") as warm:
        warm.write('\nprint("the copy\'s server", flush=True)\n')
    typed = command(tmp_path, cache_dir, "fold=0,1", "folds=2")
    typed[typed.index(str(TRAIN))] = str(copy / "train.py")
    done = subprocess.run(typed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the copy's server" in done.stdout


def test_a_finished_run_stays_finished_when_its_report_fails(run: Callable[..., RunFolder]) -> None:
    done = run("trainer.max_epochs=1")
    config = compose([*CONFIG_TINY, "trainer.max_epochs=1", f"machine.runs_dir={done.path.parent}"])
    job = Job((), config, done.splits["data"]["fingerprint"])
    assert job.folder.path == done.path
    _note_failure(job, "killed")
    assert RunFolder(done.path).finished
