"""`emotion ensemble RUN… -o DIR` and `emotion probe RUN -o DIR`"""

import shlex
from pathlib import Path
from typing import Literal

from emotion.commands.named import runs_in
from emotion.reporting import numbers
from emotion.runs import SCORED, RunFolder
from emotion.studies.again import with_weights
from emotion.training.derived import require_room, write_ensemble


def ensemble(paths: list[Path], out: Path) -> None:
    """Average runs and say what the average reaches."""
    typed = ["emotion", "ensemble", *map(str, paths), "-o", str(out)]
    _say(write_ensemble(runs_in(paths), out.absolute(), shlex.join(typed)))


def probe(run: Path, head: Literal["svm", "logistic"], out: Path) -> None:
    """Fit a classical classifier on a run's features and say what it reaches."""
    from emotion.training.probe import write_probe

    require_room(out.absolute())
    typed = ["emotion", "probe", str(run), "--head", head, "-o", str(out)]
    _say(write_probe(with_weights(run), head, out.absolute(), shlex.join(typed)))


def _say(made: RunFolder) -> None:
    for part in SCORED:
        if part in made.metrics:
            scores = made.metrics[part]
            print(
                f"{part.replace('_', ' '):>4}: accuracy {numbers.percent(scores['accuracy'])}, balanced accuracy "
                f"{numbers.percent(scores['balanced_accuracy'])}, macro F1 {scores['f1_macro']:.3f}"
            )
    print(made.path)
