"""The W&B workspace of a project as code: one specification in plain data, and what makes a workspace of it."""

from __future__ import annotations

from typing import Any

from emotion.errors import EmotionError
from emotion.schema.machine import WandbLogger

NAME = "emotion"
_CONFUSION = {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"}
_CURVE = {"x": "x", "y": "y", "class": "class"}
_SWEPT = ("augment.name", "sampling.name", "loss.name")


def specification(options: WandbLogger) -> dict[str, Any]:
    """Sections of panels, as plain data.

    A panel has a `kind` (line: `metrics` over epochs; bar: `metrics` of the end; chart: W&B's chart `chart` of the
    table `table`; media: pictures and tables `keys`) and, for line and bar, the configuration key by which runs are
    put together, as mean and range.
    """
    learning = [
        _line("Training and validation loss", ["train/loss", "val/loss"]),
        _line("Validation accuracy", ["val/accuracy"]),
        _line("Validation balanced accuracy", ["val/balanced_accuracy"]),
        _line("Learning rate", ["optimizer/lr"]),
    ]
    folds = [
        _line("Validation accuracy: mean and range of the folds", ["val/accuracy"], "group"),
        _line("Validation macro F1: mean and range of the folds", ["val/f1_macro"], "group"),
        _bar("Accuracy of each fold", ["final/val/accuracy"], "fold"),
        _bar("Balanced accuracy of each fold", ["final/val/balanced_accuracy"], "fold"),
        {"kind": "media", "title": "Sweep tables", "keys": ["sweep/table"]},
    ]
    swept = [
        _bar(f"{title} by {key.partition('.')[0]}", [f"final/val/{metric}"], key)
        for key in _SWEPT
        for title, metric in (("Accuracy", "accuracy"), ("Balanced accuracy", "balanced_accuracy"))
    ]
    judged = [
        _chart("wandb/confusion_matrix/v1", "confusion/val_table", _CONFUSION, "Validation, the last epoch"),
        _chart("wandb/confusion_matrix/v1", "confusion/final_test_table", _CONFUSION, "Test, the best epoch"),
        _chart("wandb/area-under-curve/v0", "curves/roc_test_table", _CURVE, "ROC"),
        _chart("wandb/area-under-curve/v0", "curves/pr_test_table", _CURVE, "Precision and recall"),
        {"kind": "media", "title": "Answers", "keys": ["predictions/test", "classes/test"]},
        {"kind": "media", "title": "Saliency", "keys": ["saliency/classes", "saliency/averages"]},
    ]
    calibration = [
        _chart("wandb/line/v0", "calibration/test_table", {"x": "x", "y": "y"}, "Reliability"),
        _bar("Calibration error", ["final/val/ece", "final/test/ece"]),
        _bar("Log loss", ["final/val/log_loss", "final/test/log_loss"]),
    ]
    sections = {
        "Folds": folds,
        "Augmentation × sampling × loss": swept,
        "Confusion": judged,
        "Calibration": calibration,
        "Learning": learning,
    }
    return {
        "name": NAME,
        "project": options.project,
        "entity": options.entity,
        "sections": [{"name": name, "panels": panels} for name, panels in sections.items()],
    }


def create(options: WandbLogger) -> str:
    """Make the workspace in W&B and return its address.

    Raises:
        EmotionError: wandb-workspaces is not installed, or W&B refuses.
    """
    import wandb

    if options.entity is None:
        raise EmotionError(
            "expected --entity, the W&B user or team that the workspace belongs to, found none."
        )
    made = workspace(specification(options))
    try:
        made.save()
    except (wandb.Error, OSError, ValueError) as error:
        raise EmotionError(
            f"expected W&B to take the workspace, found: {error}. `wandb login` signs in; --dry-run needs no account."
        ) from error
    return str(made.url)


def workspace(spec: dict[str, Any]) -> Any:
    """The `wandb_workspaces` workspace that a specification describes; nothing is sent.

    Raises:
        EmotionError: wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise EmotionError(
            "expected the package wandb-workspaces, found that it isn't installed: pip install "
            "'emotion[dashboard]', or --dry-run, which writes the specification without it."
        ) from error

    def panel(found: dict[str, Any]) -> Any:
        title, by = found["title"], found.get("group_by")
        grouped = {"groupby": f"config.{by}" if by != "group" else by} if by else {}
        if found["kind"] == "line":
            return panels.LinePlot(title=title, x="epoch", y=found["metrics"], **grouped)
        if found["kind"] == "bar":
            return panels.BarPlot(title=title, metrics=found["metrics"], **grouped)
        if found["kind"] == "media":
            return panels.MediaBrowser(title=title, media_keys=found["keys"])
        query = {"summaryTable": {"tableKey": found["table"]}}
        return panels.CustomChart(
            query=query,
            chart_name=found["chart"],
            chart_fields=found["fields"],
            chart_strings={"title": title},
        )

    sections = [
        workspaces.Section(
            name=section["name"], panels=[panel(one) for one in section["panels"]], is_open=True
        )
        for section in spec["sections"]
    ]
    return workspaces.Workspace(
        entity=spec["entity"] or "", project=spec["project"], name=spec["name"], sections=sections
    )


def _line(title: str, metrics: list[str], group_by: str | None = None) -> dict[str, Any]:
    return {"kind": "line", "title": title, "metrics": metrics, "group_by": group_by}


def _bar(title: str, metrics: list[str], group_by: str | None = None) -> dict[str, Any]:
    return {"kind": "bar", "title": title, "metrics": metrics, "group_by": group_by}


def _chart(chart: str, table: str, fields: dict[str, str], title: str) -> dict[str, Any]:
    return {"kind": "chart", "title": title, "chart": chart, "table": table, "fields": fields}
