"""Weights & Biases as a view of run folders: whatever it shows can be built again from the folder at any time.

Online, one W&B run stands for one attempt: its id is drawn once and kept in the folder's `wandb.json`, and a later
session resumes it after the last epoch that it has. Offline, W&B can't resume (one id twice would become two runs), so
the one file that a folder holds is written anew from `metrics.csv` each time the folder is opened.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion import atomic, formats, sweeps
from emotion.errors import EmotionError, RunError
from emotion.evaluation import calibration, metrics, predictions
from emotion.evaluation.predictions import Predictions
from emotion.reporting import curves
from emotion.reporting.album import ImageLookup
from emotion.reporting.evidence import PART_NAMES
from emotion.reporting.mistakes import most_confident
from emotion.reporting.sweep import frame
from emotion.runs import JOBS, RunFolder, TableName
from emotion.schema import path_keys
from emotion.schema.machine import WandbLogger
from emotion.sweeps import SweepFolder

if TYPE_CHECKING:
    import wandb as api

FORMAT = 1
CURVE_POINTS = 200  # a class; W&B draws at most 10,000 rows
SAMPLED = 64  # images in the predictions table: half of them the surest mistakes, half spread over the rest
_GROUPED = {"lr": "optimizer/lr", "seconds": "speed/seconds", "images_per_s": "speed/images_per_s"}
_LOCAL = ("machine", "logger", "force")


class WandbView:
    """A W&B run that shows a run folder.

    Args:
        run: the folder; its configuration and status must be written.
        options: the `logger` section.
        images: where the predictions table gets its pictures from; without it, it has none.
        live: a training is under way, so the machine's load is worth recording.

    Raises:
        EmotionError: W&B is not installed, or refuses (no account, no network).
    """

    def __init__(
        self, run: RunFolder, options: WandbLogger, images: ImageLookup | None = None, live: bool = True
    ) -> None:
        self.folder, self.options, self.images = run, options, images
        known = _known(run.path, options, lambda: _describe(run))
        config = {
            **_shared(run.config),
            "run": run.name,
            "identity": run.status["identity"],
            "attempt": run.status["attempt"],
        }
        self._run = _begin(run.path, known, options, config, live)
        self.url: str | None = None if self._run.offline else self._run.url
        self._next = self._run.step
        self._run.define_metric("epoch", hidden=True)
        self._run.define_metric("*", step_metric="epoch")
        self._replay()

    def _replay(self) -> None:
        """The epochs that the folder has and W&B has not."""
        if not self.folder.file("metrics.csv").is_file():
            return
        rows = self.folder.history().to_dicts()
        confusions = [None] * (len(rows) - len(self.folder.confusions)) + list(self.folder.confusions)
        for row, confusion in zip(rows, confusions, strict=True):
            self.epoch(row, confusion)

    def epoch(self, row: Mapping[str, float], confusion: Sequence[Sequence[int]] | None) -> None:
        """Show a finished epoch; one that W&B has already is left out.

        Args:
            row: of metrics.csv.
            confusion: (K, K) counts on the validation part, true classes in rows.
        """
        epoch = int(row["epoch"])
        if epoch < self._next:
            return
        values: dict[str, Any] = {_GROUPED.get(name, name): value for name, value in row.items()}
        if confusion is not None:
            values["confusion/val"] = _confusion_chart(np.asarray(confusion), self._classes, "validation")
        self._run.log(values, step=epoch, commit=True)
        self._next = epoch + 1

    @property
    def _classes(self) -> tuple[str, ...]:
        return tuple(self.folder.splits["data"]["classes"])

    def publish(self) -> None:
        """Show what a finished run has left: scores, charts, tables, pictures and files.

        Scores and files replace what W&B has; charts and tables are sent again only when they have changed.
        """
        folder = self.folder
        final = {
            f"final/{part}/{name}": value
            for part in ("val", "test")
            for name, value in folder.metrics.get(part, {}).items()
            if isinstance(value, int | float)
        }
        digest = _digest(folder)
        if self._run.summary.get("published") != digest:
            self._run.log({**self._judged(folder), **self._pictures(folder)}, step=self._next, commit=True)
            self._next += 1
        cost = {f"cost/{name}": value for name, value in folder.metrics["cost"].items()}
        self._run.summary.update({**final, **cost, "published": digest})
        self._files(folder)

    def _judged(self, folder: RunFolder) -> dict[str, Any]:

        part: TableName = "test" if folder.has("test") else "val"
        table = predictions.read(folder.predictions(part))
        counts = metrics.confusion_matrix(table.labels, table.predicted, len(table.classes))
        scores = metrics.compute(table.labels, table.probabilities, table.classes)
        of_class = [
            [
                name,
                int(support),
                *(scores[f"{score}/{name}"] for score in ("recall", "precision", "f1", "auroc")),
            ]
            for name, support in zip(table.classes, counts.sum(1), strict=True)
        ]
        columns = ["class", "images", "recall", "precision", "f1", "auroc"]
        return {
            f"confusion/final_{part}": _confusion_chart(counts, table.classes, PART_NAMES[part]),
            f"curves/roc_{part}": _curve_chart(table, curves.roc, "ROC", ("false positive rate", "recall")),
            f"curves/pr_{part}": _curve_chart(
                table, curves.precision_recall, "Precision and recall", ("recall", "precision")
            ),
            f"calibration/{part}": _reliability_chart(table),
            f"classes/{part}": _table(columns, of_class),
            f"predictions/{part}": self._predictions(folder, table),
        }

    def _predictions(self, folder: RunFolder, table: Predictions) -> api.Table:
        import wandb

        rows = sampled(table, SAMPLED)
        found: Mapping[str, np.ndarray] = {}
        if self.images is not None:
            try:
                found = self.images(folder, [table.ids[row] for row in rows])
            except EmotionError:
                found = {}  # the data is gone; the table is still worth having
        columns = ["id", "image", "label", "answer", "confidence", *(f"p/{name}" for name in table.classes)]
        made = _table(columns)
        for row in rows:
            pixels = found.get(table.ids[row])
            made.add_data(
                table.ids[row],
                None if pixels is None else wandb.Image(pixels),
                table.classes[table.labels[row]],
                table.classes[table.predicted[row]],
                float(table.confidence[row]),
                *table.probabilities[row].tolist(),
            )
        return made

    def _pictures(self, folder: RunFolder) -> dict[str, Any]:
        """The augmented images, and the saliency maps that `emotion explain` has left."""
        import wandb

        found = {"augmentation": folder.file("figures/augmentation_grid.png")}
        found |= {f"saliency/{path.stem}": path for path in sorted(folder.file("explanation").glob("*.png"))}
        return {name: wandb.Image(str(path)) for name, path in found.items() if path.is_file()}

    def _files(self, folder: RunFolder) -> None:
        import wandb

        report = wandb.Artifact(f"report-{self._run.id}", "report")
        for name in ("report.html", "config.yaml", "splits.json", "environment.json"):
            if folder.file(name).is_file():
                report.add_file(str(folder.file(name)))
        self._run.log_artifact(report)
        if self.options.log_model:
            model = wandb.Artifact(f"model-{self._run.id}", "model", metadata={"run": folder.name})
            model.add_file(str(folder.checkpoint("best")))
            self._run.log_artifact(model)

    def close(self, exit_code: int) -> None:
        """End the W&B run: 0 finished, 130 interrupted, all else shows as failed."""
        self._run.finish(exit_code=exit_code)


def sync_run(run: RunFolder, options: WandbLogger, images: ImageLookup | None = None) -> str:
    """Build or complete the W&B run of a folder, and return where it is: an address, or the folder of W&B's files.

    Raises:
        EmotionError: W&B is not installed or refuses, the folder can't be read, or its weights are to be sent and
            aren't there.
    """
    if options.log_model and run.finished:
        run.require_weights()  # said before anything is sent
    view = WandbView(run, options, images, live=False)
    state = run.status["state"]
    try:
        if run.finished:
            view.publish()
    except BaseException:
        view.close(1)
        raise
    view.close({"finished": 0, "interrupted": 130}.get(state, 1))
    return view.url or str(run.file("wandb"))


def sync_sweep(sweep: SweepFolder, options: WandbLogger) -> str:
    """Build the W&B run that holds a sweep's table, anew each time.

    Raises:
        EmotionError: W&B is not installed or refuses.
    """
    import wandb

    name = sweep.path.name
    known = _known(
        sweep.path, options, lambda: {"name": f"sweep {name}", "group": name, "job_type": "sweep-table"}
    )
    run = _begin(sweep.path, known, options, {"sweep": name, "swept": sweep.swept()}, live=False)
    table = frame(sweep)
    run.log({"sweep/table": _table(table.columns, [list(row) for row in table.iter_rows()])})
    files = wandb.Artifact(f"sweep-{name}", "sweep")
    for file in ("table.csv", "table.md", "table.html", JOBS):
        if (sweep.path / file).is_file():
            files.add_file(str(sweep.path / file))
    run.log_artifact(files)
    run.finish(exit_code=0)
    return str(sweep.path / "wandb") if run.offline else str(run.url)


def sampled(table: Predictions, count: int) -> np.ndarray:
    """Rows worth looking at: half of them the surest mistakes, the others evenly from all the rest."""
    wrong = most_confident(table, count // 2)
    rest = np.setdiff1d(np.arange(len(table)), wrong)
    spread = rest[np.linspace(0, len(rest) - 1, min(count - len(wrong), len(rest))).round().astype(int)]
    return np.concatenate([wrong, np.unique(spread)])


def sweep_of(run: RunFolder) -> str | None:
    """The sweep that a run belongs to, the newest of several."""
    for path in sweeps.beside(run):
        try:
            sweep = SweepFolder.open(path)
        except EmotionError:
            continue
        if any(sweep.run(job).path == run.path.resolve() for job in sweep.jobs):
            return path.name
    return None


def _describe(run: RunFolder) -> dict[str, Any]:
    fold, attempt = run.config["fold"], run.status["attempt"]
    name = run.config.get("name") or run.name
    return {
        "name": name if attempt == 1 else f"{name} (attempt {attempt})",
        "group": sweep_of(run),
        "job_type": "single" if fold is None else f"fold-{fold}",
    }


def _known(path: Path, options: WandbLogger, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What W&B calls this folder, decided when it is first shown and kept in wandb.json."""
    file = path / "wandb.json"
    if file.is_file():
        try:
            known: dict[str, Any] = json.loads(file.read_text())
        except json.JSONDecodeError as error:
            raise RunError(
                f"{file} is not whole ({error}): without it, W&B would get a second run."
            ) from error
        formats.require(file, known, FORMAT)
        return known
    made = {
        **formats.stamp(FORMAT),
        "id": secrets.token_hex(6),
        "project": options.project,
        "entity": options.entity,
        **describe(),
    }
    atomic.write_json(file, made)
    return made


def _begin(
    path: Path, known: Mapping[str, Any], options: WandbLogger, config: Mapping[str, Any], live: bool
) -> api.Run:
    try:
        import wandb
    except ImportError as error:
        raise EmotionError(
            "expected the package wandb, found that it isn't installed: pip install 'emotion[wandb]'."
        ) from error
    settings = wandb.Settings(
        console="off", silent=True, save_code=False, disable_git=True, x_disable_stats=not live
    )
    offline = (options.mode or wandb.setup().settings.mode) == "offline"
    if offline:
        for old in (path / "wandb").glob(f"offline-run-*-{known['id']}"):
            shutil.rmtree(old)  # one id twice would become two runs
    try:
        run = wandb.init(
            dir=str(path),
            id=known["id"],
            name=known["name"],
            group=known["group"],
            job_type=known["job_type"],
            project=known["project"],
            entity=known["entity"],
            config=dict(config),
            mode="offline" if offline else options.mode,
            resume=None if offline else "allow",
            reinit="create_new",  # two runs of one process must not merge
            settings=settings,
        )
    except wandb.Error as error:
        raise EmotionError(
            f"expected W&B to take the run, found: {error}. `wandb login` signs in, logger.mode=offline does without "
            "network; the run folder has everything, and `emotion wandb sync` shows it whenever you like."
        ) from error
    return run


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration without what belongs to this machine."""
    local = path_keys()
    return {
        group: {key: v for key, v in value.items() if f"{group}.{key}" not in local}
        if isinstance(value, Mapping)
        else value
        for group, value in config.items()
        if group not in _LOCAL
    }


def _digest(folder: RunFolder) -> str:
    """Of all that `publish` draws, so that it is drawn again when it has changed."""
    digest = hashlib.sha256()
    files: Iterable[Path] = (
        folder.predictions("val"),
        folder.predictions("test"),
        folder.file("figures/augmentation_grid.png"),
        *sorted(folder.file("explanation").glob("*.png")),
    )
    for file in files:
        if file.is_file():
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _table(columns: Sequence[str], data: list[list[Any]] | None = None) -> api.Table:
    import wandb

    return wandb.Table(columns=list(columns), data=data)


def _confusion_chart(counts: np.ndarray, classes: Sequence[str], title: str) -> Any:
    """W&B's own confusion chart from counts (its function wants every single answer)."""
    import wandb

    data = [[a, b, int(counts[i, j])] for i, a in enumerate(classes) for j, b in enumerate(classes)]
    columns = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        _table(columns, data),
        {name: name for name in columns},
        {"title": f"Confusion, {title}"},
    )


def _reliability_chart(table: Predictions) -> Any:
    import wandb

    bins = calibration.reliability(table.labels, table.probabilities)
    data = [list(row) for row in bins.filter(bins["count"] > 0).select("confidence", "accuracy").iter_rows()]
    titles = {"title": "Reliability: accuracy at each confidence"}
    found = _table(["x", "y"], data)
    return wandb.plot_table("wandb/line/v0", found, {"x": "x", "y": "y"}, titles)


def _curve_chart(
    table: Predictions,
    curve: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray] | None],
    title: str,
    axes: tuple[str, str],
) -> Any:
    """One line a class, as W&B's own ROC and PR charts (which want pandas and scikit-learn's labels)."""
    import wandb

    data: list[list[Any]] = []
    for index, name in enumerate(table.classes):
        points = curve(table.labels == index, table.probabilities[:, index])
        if points is not None:
            x, y = curves.thinned(*points, CURVE_POINTS)
            data += [[name, float(a), float(b)] for a, b in zip(x, y, strict=True)]
    return wandb.plot_table(
        "wandb/area-under-curve/v0",
        _table(["class", "x", "y"], data),
        {"x": "x", "y": "y", "class": "class"},
        {"title": title, "x-axis-title": axes[0], "y-axis-title": axes[1]},
    )
