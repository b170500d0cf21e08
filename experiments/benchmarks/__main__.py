"""Measure emotion beside what people use: `python -m experiments.benchmarks`, or `make bench`."""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from emotion.data.cache import default_cache_dir
from emotion.errors import EmotionError
from emotion.training import environment, precision
from emotion.training.folder import now

from . import accuracy, epoch, growth, memory, pipelines, report, startup, steps, sweep
from .bench import Bench, gpu_name

RESULTS = Path(__file__).resolve().parent / "results"
FAMILIES = {
    module.__name__.rpartition(".")[2]: module
    for module in (pipelines, steps, epoch, accuracy, startup, sweep, memory, growth)
}
_STAT = Path("/proc/stat")
_ASK = """
import importlib.metadata, json
names = [one.metadata["Name"].replace("_", "-") for one in importlib.metadata.distributions()]
wanted = [name for name in ("tensorflow", "tensorflow-cpu", "keras") if name in names]
print(json.dumps({name: importlib.metadata.version(name) for name in wanted}))
"""
QUICK_RESULTS = Path("build") / "benchmarks"  # nobody takes these for results


def main() -> None:
    """Measure the chosen families and write what came of it."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # candidates are ended and folders removed
    out = arguments.out or (QUICK_RESULTS if arguments.quick else RESULTS)
    root = os.environ.get("EMOTION_DATA")
    families = arguments.only or list(FAMILIES)
    _refuse(arguments, out, families, root)
    scratch = default_cache_dir() / "benchmarks"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="work-", dir=scratch) as work:
            bench = Bench(
                work=Path(work),
                rounds=1 if arguments.quick else arguments.rounds,
                quick=arguments.quick,
                epochs=arguments.epochs,
                seeds=arguments.seeds,
                known=report.known(out),
                data=Path(root) if root else None,
                keras=arguments.keras,
            )
            for name in families:
                about = str(FAMILIES[name].__doc__)
                print(about, flush=True)
                circumstances = _circumstances(arguments, timed=FAMILIES[name] is not accuracy)
                comparisons = FAMILIES[name].measure(bench)
                found = report.family(comparisons, about, circumstances)
                paths = report.write({name: found}, out)  # after each: an hour's work isn't lost at its end
            print("\n".join(map(str, paths)))
    except EmotionError as error:
        sys.exit(f"Error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=FAMILIES, metavar="FAMILY", help=f"of {', '.join(FAMILIES)}"
    )
    parser.add_argument("--quick", action="store_true", help="the smallest work that goes through everything")
    parser.add_argument("--rounds", type=_positive, default=5, help="of each comparison (default: 5)")
    parser.add_argument("--epochs", type=_positive, default=5, help="of the family accuracy (default: 5)")
    parser.add_argument("--seeds", type=_positive, default=3, help="of the family accuracy (default: 3)")
    parser.add_argument(
        "--keras", default=sys.executable, metavar="PYTHON", help="the Python that has TensorFlow"
    )
    parser.add_argument("--out", type=Path, help=f"default: {RESULTS.relative_to(RESULTS.parents[2])}")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def _refuse(arguments: argparse.Namespace, out: Path, families: Sequence[str], root: str | None) -> None:
    """End with what is wrong with the command, before hours of measuring."""
    if out.exists() and not out.is_dir():
        sys.exit(f"Error: --out: expected a folder, found the file {out}")
    if shutil.which(arguments.keras) is None:
        sys.exit(f"Error: --keras: expected a Python that can be run, found {arguments.keras!r}")
    if arguments.quick or not {"epoch", "accuracy"} & set(families):
        return
    if root is not None and not (Path(root) / "fer2013").is_dir():
        sys.exit(f"Error: EMOTION_DATA: expected a folder with fer2013/ in it, found {root!r}")
    measured = report.known(out).get("epoch", {}).get("comparisons", [])
    if root is None and any("FER2013" in comparison["work"] for comparison in measured):
        sys.exit(
            f"Error: the results in {out} are of FER2013: EMOTION_DATA=FOLDER names the folder with fer2013/ in it; "
            "--out DIR writes results of drawn faces elsewhere."
        )


def _busy(seconds: float = 1.0) -> float | None:
    """The share of the processor that is in use now, when nothing of ours runs; None where only Linux could say.

    Not the load average: the family before would still be in it.
    """
    if not _STAT.exists():
        return None
    before = _ticks()
    time.sleep(seconds)
    used, idle = (after - was for after, was in zip(_ticks(), before, strict=True))
    return round(used / max(used + idle, 1), 2)


def _ticks() -> tuple[int, int]:
    """Time in use and time without work since the machine's start: the columns of proc(5)'s first line."""
    user, nice, system, idle, wait, *rest = map(int, _STAT.read_text().split("\n")[0].split()[1:9])
    return user + nice + system + sum(rest), idle + wait


def _circumstances(arguments: argparse.Namespace, timed: bool) -> dict[str, object]:
    """Machine, versions and command, without paths; how busy the machine is where time is measured."""
    described = environment.describe(environment.cores(), "", "cpu")
    hardware = {**described["hardware"], "gpu": gpu_name(), "bf16": precision.cpu_has_bf16()}
    typed = [
        f"--{key}={value}"
        for key in ("rounds", "epochs", "seeds")
        if (value := getattr(arguments, key)) != _parser().get_default(key)
    ]
    only = ["--only", *arguments.only] if arguments.only else []
    keras = ["--keras", "PYTHON"] if arguments.keras != sys.executable else []
    return {
        "made": now(),
        "command": shlex.join(["python", "-m", "experiments.benchmarks", *typed, *keras, *only]),
        "quick": arguments.quick,
        "busy_before": _busy() if timed else None,
        "hardware": hardware,
        **{key: described[key] for key in ("platform", "commit", "dirty")},
        "versions": described["versions"] | _versions_of(arguments.keras),
    }


def _versions_of(python: str) -> dict[str, str]:
    """TensorFlow's and Keras' versions in that Python's environment; none where they aren't there."""
    try:
        asked = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=True, timeout=60)
        return dict(json.loads(asked.stdout))
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError):
        return {}


if __name__ == "__main__":
    main()
