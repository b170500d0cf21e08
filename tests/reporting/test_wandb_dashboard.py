"""The W&B dashboard as code: it names only what a run shows, and becomes a workspace where the package is there."""

import json
from pathlib import Path

import pytest

from emotion.commands.wandb import dashboard
from emotion.errors import EmotionError
from emotion.reporting.wandb_dashboard import create, specification, workspace
from emotion.schema.machine import WandbLogger

FACES = WandbLogger(project="faces", entity="lab")


def test_without_account_it_is_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    dashboard(FACES, dry_run=True, out=path)
    found = json.loads(path.read_text())
    assert found == specification(FACES)
    assert [section["name"] for section in found["sections"]] == [
        "Folds", "Augmentation × sampling × loss", "Confusion", "Calibration", "Learning",
    ]  # fmt: skip
    grouped = {panel.get("group_by") for section in found["sections"] for panel in section["panels"]}
    assert {"augment.name", "sampling.name", "loss.name", "fold", "group"} <= grouped


@pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # the package's own
def test_it_becomes_a_workspace() -> None:
    pytest.importorskip("wandb_workspaces")
    spec = specification(FACES)
    made = workspace(spec)
    assert (made.entity, made.project) == ("lab", "faces")
    assert [len(section.panels) for section in made.sections] == [len(s["panels"]) for s in spec["sections"]]


def test_whose_it_is_must_be_said() -> None:
    with pytest.raises(EmotionError, match="--entity"):
        create(WandbLogger(project="faces"))
