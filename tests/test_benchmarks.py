"""The bench's own arithmetic and manners; that it runs at all. No test looks at a stopwatch."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.benchmarks import accuracy, growth, report
from experiments.benchmarks.__main__ import main as bench_main
from experiments.benchmarks.bench import Bench, goals, gpu_name
from experiments.benchmarks.processes import Task, cpu_s, memory_mib
from experiments.benchmarks.side_by_side import (
    Comparison,
    Measured,
    NotMeasuredError,
    Row,
    Unmeasured,
    side_by_side,
)
from experiments.benchmarks.worker import StepClock

ROOT = Path(__file__).parents[1]
CIRCUMSTANCES = {
    "made": "2026-01-01",
    "command": "make bench",
    "quick": False,
    "busy_before": 0.01,
    "hardware": {"cpu": "one", "cores": 2, "memory_gib": 1, "gpu": None},
    "versions": {"torch": "2"},
    "commit": "0123456789",
    "dirty": False,
}


def test_a_python_that_is_not_there_is_a_row(tmp_path: Path) -> None:
    task = Task("Keras", "nowhere:nothing", {}, tmp_path / "log.txt", python=str(tmp_path / "python"))
    (row,) = side_by_side([task], 1, 0)
    assert row.missing == "python can't be run: No such file or directory"


class Fake:
    """Says when it is measured, and takes ever longer, as a machine that warms up."""

    def __init__(self, name: str, cost: float, said: list[str], fails_in: int = -1) -> None:
        self.name, self.cost, self.said, self.fails_in = name, cost, said, fails_in
        self.closed = False

    def measure(self) -> Measured:
        self.said.append(self.name)
        if self.said.count(self.name) == self.fails_in:
            raise NotMeasuredError("it broke")
        drift = 1 + (len(self.said) - 1) // 2  # the same for both candidates of a round
        return {"value": self.cost * drift, "precision": "fp32", "ms": self.cost}

    def close(self) -> None:
        self.closed = True


def compared(rows: list[Row], **more: object) -> Comparison:
    return Comparison("steps", "the same", "s", "lower", rows, ours=("ours",), **more)  # type: ignore[arg-type]


def test_candidates_take_turns_and_every_round_begins_with_another() -> None:
    said: list[str] = []
    fakes = [Fake(name, 1.0, said) for name in "abc"]
    rows = side_by_side(fakes, rounds=3, warmups=1)
    assert [said[i : i + 3] for i in range(0, 12, 3)] == [list("cab"), list("abc"), list("bca"), list("cab")]
    assert [len(row.rounds) for row in rows] == [3, 3, 3]
    assert all(fake.closed for fake in fakes)


def test_a_ratio_is_taken_within_a_round_so_that_drift_cancels() -> None:
    said: list[str] = []
    comparison = compared(side_by_side([Fake("ours", 1.0, said), Fake("peer", 3.0, said)], 5, 0))
    peer = comparison.row("peer")
    assert peer.spread is not None
    assert peer.spread.high == 5 * peer.spread.low  # the drift
    ratio = comparison.advantage("ours", peer)
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 3.0, 3.0)
    assert comparison.advantage("ours", comparison.row("ours")) is None


def test_more_of_a_rate_is_better() -> None:
    rows = [Row("ours", [{"value": 30.0}]), Row("peer", [{"value": 10.0}])]
    comparison = Comparison("", "", "images/s", "higher", rows, ours=("ours",))
    ratio = comparison.advantage("ours", rows[1])
    assert ratio is not None
    assert ratio.median == 3.0


@pytest.mark.parametrize(("busy", "said"), [(0.01, False), (0.6, True), (None, False)])
def test_a_busy_machine_is_told_to_measure_again(tmp_path: Path, busy: float | None, said: bool) -> None:
    rows = side_by_side([Fake("ours", 1.0, [])], 1, 0)
    found = report.family([compared(rows)], "about", {**CIRCUMSTANCES, "busy_before": busy})
    report.write({"steps": found}, tmp_path)
    text = (tmp_path / report.MARKDOWN).read_text()
    assert ("measure again" in text) == said
    assert ("of the processor before" in text) == (busy is not None)


def test_a_candidate_that_fails_late_has_no_numbers_but_a_reason() -> None:
    said: list[str] = []
    fakes = [Fake("ours", 1.0, said), Fake("peer", 2.0, said, fails_in=3), Unmeasured("gpu", "no GPU")]
    rows = side_by_side(fakes, rounds=4, warmups=0)
    assert [row.missing for row in rows] == [None, "it broke", "no GPU"]
    assert [len(row.rounds) for row in rows] == [4, 0, 0]
    assert compared(rows).advantage("ours", rows[1]) is None


def test_the_report_says_ratios_goals_and_what_is_missing(tmp_path: Path) -> None:
    rows = [
        Row("ours", [{"value": 2.0, "ms": 1.0}, {"value": 3.0, "ms": 2.0}]),
        Row("peer", [{"value": 4.0}, {"value": 9.0}]),
        Row("keras", missing="tensorflow is not installed"),
    ]
    comparison = compared(rows, goals={"peer": (3.0,)}, limits={"ours": 2.5}, most={"ms": 1.0})
    report.write({"steps": report.family([comparison], "about", CIRCUMSTANCES)}, tmp_path)
    report.write({"other": report.family([compared(rows)], "about", CIRCUMSTANCES)}, tmp_path)
    text = (tmp_path / report.MARKDOWN).read_text()
    assert "| peer | 6.50 (4.00–9.00) | 2.50 (2.00–3.00) | ours ≥ 3.00×: missed |" in text
    assert "| ours | 2.50 (2.00–3.00) |  | ≤ 2.50: met; ms ≤ 1.00: missed | 1.50 |" in text
    assert "| keras | tensorflow is not installed |" in text
    families = json.loads((tmp_path / report.JSON).read_text())["families"]
    assert list(families) == ["steps", "other"]  # what wasn't measured again is kept
    assert [r["value"] for r in families["steps"]["comparisons"][0]["rows"][1]["rounds"]] == [4.0, 9.0]
    assert (tmp_path / report.FIGURE).read_bytes().startswith(b"\x89PNG")


WORK = """
import os, time

def count(turns, start):
    while True:
        turns.wait()
        start += 1
        turns.report(start, threads=os.environ.get("OMP_NUM_THREADS", "unset"), stopped=os.getpid())

def spin(turns):
    turns.wait()
    turns.report(1.0)
    while True:
        pass

def peer(turns):
    import surely_not_installed

def dies(turns):
    raise RuntimeError("out of luck")
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bench_work.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "log.txt"


def test_a_process_keeps_its_state_between_turns_and_has_the_defaults_of_people(work: Path) -> None:
    (row,) = side_by_side([Task("count", "bench_work:count", {"start": 4}, work)], rounds=2, warmups=1)
    assert row.values == [6.0, 7.0]
    assert row.facts()["threads"] == "unset"
    process = row.rounds[0]["stopped"]
    assert not Path(f"/proc/{process}").exists() or not cpu_s(process)


def state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux' /proc")
def test_a_process_stands_still_while_it_is_not_measured(work: Path) -> None:
    task = Task("spin", "bench_work:spin", {}, work)
    try:
        task.measure()
        assert task._process is not None
        group = task._process.pid
        deadline = time.monotonic() + 20  # the signal arrives when the scheduler comes to it
        while state(group) != "T" and time.monotonic() < deadline:
            time.sleep(0.01)
        used = cpu_s(group)
        time.sleep(0.1)
        assert (state(group), cpu_s(group)) == ("T", used)
        assert memory_mib(group)
    finally:
        task.close()


@pytest.mark.parametrize(
    ("function", "reason"),
    [("peer", "surely_not_installed is not installed"), ("dies", "failed: RuntimeError: out of luck")],
)
def test_a_missing_peer_and_a_crash_are_rows(work: Path, function: str, reason: str) -> None:
    (row,) = side_by_side([Task("x", f"bench_work:{function}", {}, work)], rounds=1, warmups=0)
    assert row.missing == reason


def bench(tmp_path: Path, *arguments: str) -> dict[str, dict[str, object]]:
    """The families of a quick run, by what was written."""
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks",
        "--quick",
        "--out",
        str(tmp_path / "out"),
        *arguments,
    ]
    environment = {**os.environ, "EMOTION_CACHE": str(tmp_path / "cache")}
    environment.pop("EMOTION_DATA", None)
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    found: dict[str, dict[str, object]] = json.loads((tmp_path / "out" / report.JSON).read_text())["families"]
    return found


def missing(families: dict[str, dict[str, object]]) -> dict[str, str]:
    return {
        row["name"]: row["missing"]
        for family in families.values()
        for comparison in family["comparisons"]  # type: ignore[attr-defined]
        for row in comparison["rows"]
        if row["missing"]
    }


def test_a_quick_family_runs_and_writes_what_it_found(tmp_path: Path) -> None:
    families = bench(tmp_path, "--only", "growth")
    assert not missing(families)
    assert not list((tmp_path / "cache" / "benchmarks").glob("work-*"))


def test_growth_is_judged_by_the_time_an_image_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {
        "31,250 images": (40.0, 0.1, 0.001),
        "125,000 images": (160.0, 0.44, 0.06),
        "500,000 images": (640.0, 6.4, 0.01),
    }
    rows = [
        Row(name, [{"value": 1.0, "prepare s": prepare, "split s": split, "open s": opened}])
        for name, (prepare, split, opened) in seconds.items()
    ]
    monkeypatch.setattr(Bench, "measure", lambda *arguments: rows)
    (found,) = growth.measure(Bench(tmp_path))
    table = report.markdown({"growth": report.family([found], "about", CIRCUMSTANCES)})
    worst = "worst step, × linear"
    lines = {line.split(" | ")[0]: line for line in table.splitlines()}
    assert "linear ≤" not in lines["| 31,250 images"]
    assert f"{worst} ≤ 1.50: met" in lines["| 125,000 images"]
    assert f"{worst} ≤ 1.50: missed" in lines["| 500,000 images"]
    assert [row.facts().get("which step") for row in found.rows] == [None, "open", "split"]
    assert found.rows[1].facts()[worst] == pytest.approx(
        0.06 / 0.05
    )  # 4 ms would be linear: too little to judge by
    assert found.rows[2].facts()[worst] == pytest.approx(6.4 / 0.1 / 16)


@pytest.mark.slow
def test_every_family_runs(tmp_path: Path) -> None:
    families = bench(tmp_path, "--seeds", "2")
    assert list(families) == [
        "pipelines", "steps", "epoch", "accuracy", "startup", "sweep", "memory", "growth"
    ]  # fmt: skip
    for name, reason in missing(families).items():
        assert "no GPU" in reason or (name.startswith("Keras") and "not installed" in reason), (name, reason)
    for comparison in families["accuracy"]["comparisons"]:  # type: ignore[attr-defined]
        rows = {row["name"]: row for row in comparison["rows"]}
        assert all(len(rows[name]["rounds"]) == 1 for name in ("emotion", "plain PyTorch"))


@dataclass
class Learner:
    """Reaches its seed's accuracy in its last epoch; tells each epoch."""

    name: str
    seed: int
    told: list[tuple[str, int]]
    missing: str = ""

    def measure(self) -> dict[str, float]:
        if self.missing:
            raise NotMeasuredError(self.missing)
        self.told.append((self.name, self.seed))
        reached = self.seed + self.told.count((self.name, self.seed)) / 100
        return {"value": 1.0, "accuracy": reached, "precision": "fp32"}

    def close(self) -> None:
        pass


def test_accuracies_that_were_measured_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int]] = []
    missing = {"Keras, tf.data": "not installed"}

    def measured(known: list[Comparison], **settings: int) -> list[Comparison]:
        plain = {"accuracy": {"comparisons": [json.loads(json.dumps(one.to_dict())) for one in known]}}
        return accuracy.measure(Bench(tmp_path, known=plain, **settings))  # type: ignore[arg-type]

    monkeypatch.setattr("experiments.benchmarks.accuracy.has_gpu", lambda: False)
    monkeypatch.setattr(
        "experiments.benchmarks.accuracy.main_candidates",
        lambda bench, data, device, epochs, seed: [
            Learner(name, seed, told, missing.get(name, ""))
            for name in ("emotion", "plain PyTorch", "Keras, tf.data")
        ],
    )
    first = measured([], seeds=1, epochs=4)
    assert [row.values for row in first[0].rows] == [[pytest.approx(4)], [pytest.approx(4)], []]
    assert first[0].row("Keras, tf.data").missing == "not installed"
    missing.clear()
    told.clear()
    second = measured(first, seeds=2, epochs=4)
    assert second[0].row("emotion") == first[0].row("emotion")  # with its date and commit
    assert second[0].row("Keras, tf.data").values == [pytest.approx(4)]
    assert [row.values for row in second[1].rows] == [[pytest.approx(104)]] * 3
    assert {(name, seed): told.count((name, seed)) for name, seed in told} == {
        ("Keras, tf.data", 0): 4, ("emotion", 1): 4, ("plain PyTorch", 1): 4, ("Keras, tf.data", 1): 4
    }  # fmt: skip
    told.clear()
    third = measured(second, seeds=1, epochs=3)  # other work: beside what there is
    assert third[:2] == second
    assert len(told) == 9
    assert measured(third, seeds=2, epochs=4) == third  # nothing is left
    assert len(told) == 9
    told.clear()
    monkeypatch.setattr("experiments.benchmarks.accuracy.code_version", lambda: ("fedcba9876", False))
    fourth = measured(third, seeds=2, epochs=4)  # the code has changed: ours is another candidate
    assert {name for name, _ in told} == {"emotion"}
    assert len(told) == 8
    assert fourth[0].row("emotion").facts()["commit"] == "fedcba98"
    assert fourth[0].row("plain PyTorch") == third[0].row("plain PyTorch")


@pytest.mark.parametrize(
    ("arguments", "data", "said"),
    [
        (["--rounds", "0"], None, "expected a whole number of at least 1, found '0'"),
        (["--rounds", "x"], None, "expected a whole number of at least 1, found 'x'"),
        (["--keras", "no/python"], None, "--keras: expected a Python that can be run, found 'no/python'"),
        (
            ["--only", "epoch"],
            "no/data",
            "EMOTION_DATA: expected a folder with fer2013/ in it, found 'no/data'",
        ),
        (["--only", "epoch"], None, "results in {out} are of FER2013: EMOTION_DATA=FOLDER"),
        (["--only", "epoch", "--out", "{file}"], None, "--out: expected a folder, found the file {file}"),
    ],
)
def test_a_wrong_command_ends_before_anything_is_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    data: str | None,
    said: str,
) -> None:
    out, file = tmp_path / "out", tmp_path / "file"
    file.touch()
    epochs = Comparison("Whole epochs", "FER2013, 48 px", "images/s", "higher", [])
    report.write({"epoch": report.family([epochs], "about", CIRCUMSTANCES)}, out)
    monkeypatch.setattr(Bench, "measure", lambda *_: pytest.fail("it measures"))
    monkeypatch.delenv("EMOTION_DATA", raising=False)
    if data is not None:
        monkeypatch.setenv("EMOTION_DATA", data)
    typed = [argument.format(file=file) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["bench", "--out", str(out), *typed])
    with pytest.raises(SystemExit) as ended:
        bench_main()
    assert said.format(out=out, file=file) in f"{ended.value}{capsys.readouterr().err}"


@pytest.mark.parametrize(
    ("has_bf16", "fp32", "expected"),
    [(True, 1.6, (3.0, 1.6)), (False, 1.6, (1.6, 1.6)), (True, None, (3.0,)), (False, None, (3.0,))],
)
def test_a_processor_without_bf16_has_the_goal_of_fp32(
    has_bf16: bool, fp32: float | None, expected: tuple[float, ...]
) -> None:
    assert goals(has_bf16, 3.0, fp32) == expected


def test_a_gpu_that_torch_cannot_use_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")  # as left over from another machine
    gpu_name.cache_clear()
    assert gpu_name() is None
    gpu_name.cache_clear()


def test_a_wait_for_the_loader_that_nobody_sees_is_an_error() -> None:
    """Else the share of time would be missing from the table in silence, its goal too."""

    class Told:
        def __init__(self) -> None:
            self.said: list[dict[str, float]] = []

        def wait(self) -> None:
            pass

        def report(self, value: float, **facts: float) -> None:
            self.said.append(facts)

    told = Told()
    clock = StepClock(told, batch=1, skip=1, steps=1)  # type: ignore[arg-type]
    clock.begin()
    for _ in range(2):
        clock.step_done()
    assert "% waiting for data" not in told.said[0]  # a peer's, where nobody counts
    clock.waited_s = 0.0
    clock.step_done()
    clock.waited_s = 0.001
    clock.step_done()
    assert told.said[1]["% waiting for data"] > 0
    clock.step_done()
    with pytest.raises(RuntimeError, match="no wait for the loader was seen"):
        clock.step_done()


def test_a_process_gets_the_variables_that_it_was_given(work: Path) -> None:
    task = Task("count", "bench_work:count", {"start": 0}, work, variables={"OMP_NUM_THREADS": "1"})
    (row,) = side_by_side([task], rounds=1, warmups=0)
    assert row.facts()["threads"] == "1"
