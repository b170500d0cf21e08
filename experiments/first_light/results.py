"""Keep what finished runs reached, and write the README's results table from it.

    python experiments/first_light/results.py RUN…    copy these runs into results/, then rewrite the table
    python experiments/first_light/results.py         rewrite the table from what is there

What is kept is enough to compute every number again (`emotion report` reads it), without weights, images and the
paths of the machine that trained.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from emotion import atomic, kept
from emotion.errors import ConfigError, EmotionError, RunError
from emotion.evaluation import metrics, predictions
from emotion.evaluation.intervals import estimate
from emotion.evaluation.predictions import Predictions
from emotion.launch import choices, compose
from emotion.reporting import numbers
from emotion.reporting.evidence import flattened
from emotion.runs import RunFolder
from emotion.schema import GROUPS, RunConfig, path_keys
from emotion.training.identity import essence

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"
_HEAD = (
    "data",
    "network",
    "test accuracy (95 % interval)",
    "balanced accuracy",
    "macro F1",
    "epochs",
    "training time",
    "hardware",
    "date",
    "command",
)


def keep(run: RunFolder, results: Path = RESULTS) -> Path:
    """Copy a run's tables and facts to `results`/<run name>/.

    Raises:
        RunError: the run isn't finished, was not scored on a test part, or is too large to be committed.
    """
    if run.finished and not run.has("test"):
        raise RunError(
            f"{run.path} has no test predictions: type its command again with evaluation.test=true."
        )
    return kept.keep(run, results / run.name, command_of(run.config), kept.LIMIT_BYTES)


def command_of(config: dict[str, Any]) -> str:
    """The shortest command line that comes to this configuration: from the defaults or from an experiment.

    Raises:
        RunError: none does, because the configuration belongs to another version.
    """
    wanted = kept.without_paths(config)
    known = path_keys()
    paths = [
        f"{key}={kept.placeholder(key, config[key.split('.')[0]])}"
        for key, value in flattened(config)
        if key in known and value is not None and not key.startswith("machine.")
    ]
    found = []
    for start in ([], *([f"experiment={name}"] for name in choices("experiment"))):
        names, values = _differences(wanted, start)
        overrides = [*start, *names, *values]
        try:
            same = _essence(_composed(*overrides)) == _essence(wanted)
        except ConfigError:
            continue
        if same:
            found.append([*start, *names, *paths, *values])
    if not found:
        raise RunError(
            "expected a configuration of this version of emotion, found one that no command line makes."
        )
    shortest = min(found, key=len)
    return " ".join(["python train.py", *map(_quoted, shortest)])


def _differences(wanted: RunConfig, start: list[str]) -> tuple[list[str], list[str]]:
    """The overrides of group choices and of single keys that lead from `start` to `wanted`."""
    base = kept.without_paths(_composed(*start).plain())
    names = [
        f"{group}={chosen}"
        for group in GROUPS
        if (chosen := getattr(getattr(wanted, group), "name", None))
        != getattr(getattr(base, group), "name", None)
    ]
    try:
        composed = _composed(*start, *names)
    except ConfigError:  # the experiment sets a key that the other choice doesn't have
        return names, []
    there = dict(flattened(composed.plain()))
    values = [
        f"{key}={_spelt(value)}"
        for key, value in flattened(wanted.plain())
        if key.split(".")[0] not in ("machine", "logger", "force", "name")
        and key not in ("evaluation.test", "evaluation.batch_size", *path_keys())
        and (key not in there or there[key] != value)
    ]
    return names, values


@cache
def _composed(*overrides: str) -> RunConfig:
    return compose(overrides)


def _essence(config: RunConfig) -> dict[str, Any]:
    return essence(kept.without_paths(config.plain()), "")


def _spelt(value: Any) -> str:
    """As Hydra reads it: null, true, numbers, text, lists without spaces."""
    if isinstance(value, list):
        return f"[{','.join(map(_spelt, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def _quoted(override: str) -> str:
    return f"'{override}'" if set(override) & set("[]{}*?$ ") else override


def block(results: Path = RESULTS) -> str:
    """The Markdown between the README's marks."""
    runs = [RunFolder(path) for path in sorted(results.glob("*/")) if not path.name.startswith(".")]
    if not runs:
        return "No run has been recorded yet."
    tables = {run.name: predictions.read(run.predictions("test")) for run in runs}
    runs.sort(key=lambda run: (run.config["data"]["name"], -_accuracy(tables[run.name])))
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    lines += [_line(_row(run, tables[run.name])) for run in runs]
    return "\n".join([*lines, *_twins(runs, tables)])


def _row(run: RunFolder, table: Predictions) -> list[str]:
    scores = metrics.compute(table.labels, table.probabilities, table.classes)
    accuracy = estimate(table, ["accuracy"])["accuracy"]
    model, machine = run.config["model"], run.environment
    start = "pretrained" if model.get("pretrained") or model.get("weights") else "from scratch"
    threads = numbers.counted(machine["threads"], "thread")
    hardware = machine["hardware"]["gpu"] or f"{machine['hardware']['cpu']}, {threads}"
    return [
        run.config["data"]["name"],
        f"{model['name']}, {start}",
        f"{numbers.percent(accuracy.value)} ({numbers.interval(accuracy.low, accuracy.high)})",
        numbers.percent(scores["balanced_accuracy"]),
        numbers.decimal(scores["f1_macro"]),
        str(run.status["epoch"]),
        numbers.duration(run.metrics["cost"]["train_s"]),
        f"{hardware}, {machine['precision']}",
        run.status["finished"][:10],
        f"`{machine['command']}`",
    ]


def _twins(runs: Iterable[RunFolder], tables: dict[str, Predictions]) -> list[str]:
    """What remains without the test images that the run could have learnt from, where a published split has some."""
    said = []
    for run in runs:
        table, leaked = tables[run.name], run.splits.get("leaked_test_ids") or []
        kept = table.frame.filter(~pl.col("id").is_in(leaked))
        if leaked and kept.height:
            without = Predictions(kept, table.classes, table.meta)
            said.append(
                f"* {run.config['data']['name']}, {run.config['model']['name']}: {len(leaked):,} of the {len(table):,} "
                "test images share their pixels, a person or a source with training or validation images, as "
                f"the split was published. Without them accuracy is {numbers.percent(_accuracy(without))} instead of "
                f"{numbers.percent(_accuracy(table))}."
            )
    return ["", *said] if said else []


def _accuracy(table: Predictions) -> float:
    return float((table.predicted == table.labels).mean())


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rewrite(readme: Path = README, results: Path = RESULTS) -> None:
    """Replace what stands between the marks of `readme`.

    Raises:
        RunError: the marks aren't there once each.
    """
    atomic.write_between(readme, BEGIN, END, block(results))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of finished runs")
    try:
        for path in parser.parse_args().runs:
            target = keep(RunFolder.open(path))
            print(f"{target.relative_to(HERE)}: {kept.size_of(target) / 1024:.0f} KiB")
        rewrite()
    except EmotionError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
