"""A run's scores: prediction tables by the weights that it kept, and the metrics, figures and report made from them."""

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from emotion import atomic, formats
from emotion.data.datamodule import ExpressionDataModule
from emotion.data.store import Store
from emotion.evaluation import predictions as tables
from emotion.evaluation.metrics import compute, to_json
from emotion.models import network as door
from emotion.models.classifier import ExpressionClassifier
from emotion.models.device import DevicePreprocess
from emotion.reporting.report import write_report
from emotion.runs import FORMAT, SCORED, RunFolder, TableName
from emotion.schema import RunConfig
from emotion.training import checkpoint
from emotion.training.console import Log
from emotion.training.evaluate import predict
from emotion.training.pictures import StoredPictures, write_figures
from emotion.training.progress import counting, resampling


@dataclass(frozen=True)
class Scoring:
    """What follows training in a run's folder. The caller holds its lock."""

    config: RunConfig
    store: Store
    folder: RunFolder
    log: Log

    def evaluate(
        self, data: ExpressionDataModule, device: torch.device, parts: tuple[TableName, ...]
    ) -> ExpressionClassifier:
        """Write the prediction tables of `parts` by the best weights (`val_last`: the last ones) and by snapshots."""
        best = checkpoint.load_weights(self.folder.checkpoint("best"))
        classifier = self._classifier(best, best["state_dict"])
        for part in parts:
            of = classifier
            if part == "val_last":
                _, last = checkpoint.newest(self.folder.checkpoint("last"))
                of = self._classifier(best, checkpoint.network_state(last))
            table = self._score(of, data, device, part, selected=part == "val")
            tables.write(self.folder.predictions(part), table)
        for number in itertools.count(1):
            weights = self.folder.snapshot_weights(number)
            if not weights.is_file():
                break
            of = self._classifier(best, checkpoint.load_weights(weights)["state_dict"])
            for part in parts:
                if part != "val_last":
                    table = self._score(of, data, device, part, said=f"{part} by snapshot {number}")
                    tables.write(self.folder.snapshot_predictions(number, part), table)
        return classifier

    def _score(
        self,
        classifier: ExpressionClassifier,
        data: ExpressionDataModule,
        device: torch.device,
        part: TableName,
        *,
        selected: bool = False,
        said: str = "",
    ) -> tables.Predictions:
        """The predictions of `classifier` on a part.

        Args:
            selected: its weights were chosen by their score on this part.
            said: what the part is called in the log; "": by its name.
        """
        scored = "val" if part == "val_last" else part
        loader = data.evaluation_dataloader(scored)
        told = counting(self.log, f"Scored {said or part}:", "images", len(data.split.part(scored)))
        rows, found = predict(classifier, loader, device, told)
        frame = self.store.frame[rows]
        return tables.from_arrays(
            frame["id"].to_list(),
            frame["label"].to_numpy(),
            found,
            self.store.classes,
            tables.Meta(
                self.config.data.shown_name,
                "val" if scored == "val" else "test",
                self.folder.name,
                selected_on_this_part=selected,
            ),
            groups=frame["group"].to_list(),
            fold=self.config.fold,
        )

    def _classifier(self, best: dict[str, Any], state: dict[str, torch.Tensor]) -> ExpressionClassifier:
        network = door.rebuild(best["network"])
        network.load_state_dict(state)
        if self.config.model.freeze and self.config.model.freeze_epochs is None:
            network.freeze(self.config.model.freeze)  # what was never trained isn't counted as trainable
        device_module = DevicePreprocess.from_dict(best["device"])
        counts = torch.ones(len(best["classes"]), dtype=torch.int64)
        return ExpressionClassifier(self.config, network, device_module, counts)

    def write_metrics(self, cost: dict[str, Any]) -> None:
        """metrics.json: computed from the prediction tables, beside what the run cost."""
        metrics = formats.stamp(FORMAT)  # a later version may add the test part
        if self.config.data.protocol == "leaky":
            metrics["protocol"] = "leaky"
        for part in SCORED:
            if self.folder.has(part):
                table = tables.read(self.folder.predictions(part))
                found = compute(table.labels, table.probabilities, table.classes)
                metrics[part] = to_json(found)
        atomic.write_json(self.folder.file("metrics.json"), {**metrics, "cost": cost})

    def figures(self, data: ExpressionDataModule) -> None:
        """The files in figures/."""
        write_figures(self.folder, data)

    def report(self) -> None:
        """report.html, and the scores in the log."""
        run = self.folder
        with resampling():
            path = write_report([run], self.folder.file("report.html"), StoredPictures(self.store))
        leaky = "leaky " if "protocol" in run.metrics else ""
        for part in SCORED:
            if part in run.metrics:
                scores = run.metrics[part]
                self.log(
                    f"{leaky}{part.replace('_', ' '):>4}: accuracy {scores['accuracy']:.1%}, balanced accuracy "
                    f"{scores['balanced_accuracy']:.1%}, macro F1 {scores['f1_macro']:.3f}"
                )
        snapshots = len(run.snapshots("val"))
        if snapshots > 1:
            self.log(f"{snapshots} snapshots were kept; `emotion ensemble {run.path} -o DIR` averages them.")
        self.log(f"{path}")
