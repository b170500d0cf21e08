"""What `emotion explain` leaves: sheets in the run folder that its report shows."""

import json
from pathlib import Path

import pytest
from PIL import Image

from emotion.errors import ConfigError
from emotion.evaluation import predictions
from emotion.reporting.page import Note
from emotion.reporting.report import make_page
from emotion.runs import RunFolder
from emotion.training.explain import Explainer, explain


def test_sheets_of_every_kind(finished: RunFolder) -> None:
    table = predictions.read(finished.predictions("test"))
    wrong = int((table.predicted != table.labels).argmax())
    pair = (table.classes[table.labels[wrong]], table.classes[table.predicted[wrong]])
    told: list[tuple[int, int]] = []
    absent = next(
        (a, b) for a in table.classes for b in table.classes
        if a != b and not ((table.labels == table.classes.index(a)) & (table.predicted == table.classes.index(b))).any()
    )  # fmt: skip
    explain(finished, pairs=[pair, absent], progress=lambda done, total: told.append((done, total)))
    there = finished.file("explanation")
    facts = json.loads((there / "sheets.json").read_text())
    titles = [sheet["title"] for sheet in facts["sheets"]]
    assert f"{pair[0]} taken for {pair[1]}" in titles
    assert {"What speaks for each class", "Average maps"} <= set(titles)
    assert sum(title.startswith("Feature maps of backbone.") for title in titles) >= 3
    for sheet in facts["sheets"]:
        with Image.open(there / sheet["file"]) as picture:
            assert picture.width > 50
    assert told[-1][0] == told[-1][1] > 0
    sections = {section.name: section for section in make_page([finished]).sections}
    assert "LayerCAM of backbone." in sections["explanation"].lead
    (said,) = (block.text for block in sections["explanation"].blocks if isinstance(block, Note))
    assert said == f"No image of {absent[0]} in the test part was taken for {absent[1]}."
    explain(finished, "occlusion", pairs=[pair])  # replaces what was there
    assert json.loads((there / "sheets.json").read_text())["method"] == "occlusion"


def test_maps_are_of_the_answers(finished: RunFolder) -> None:
    """The rows of the table and of the store are matched by id, and a map doesn't depend on its batch."""
    explainer = Explainer(finished)
    rows = list(range(20))
    together = explainer.maps(rows)
    assert together.shape[0] == 20
    assert together[17] == pytest.approx(explainer.maps([17])[0], abs=1e-3)
    other = (explainer.table.predicted[[17]] + 1) % 7
    assert explainer.maps([17], other)[0] != pytest.approx(
        together[17], abs=1e-3
    )  # another class, another map
    ids = [explainer.table.ids[row] for row in rows]
    stored = explainer.store.frame["id"].to_list()
    assert (explainer.pixels(rows)[3] == explainer.store.images[stored.index(ids[3])]).all()


def test_unknown_names(finished: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="boredom"):
        explain(finished, pairs=[("boredom", "anger")])
    with pytest.raises(ConfigError, match="no_such"):
        explain(finished, layer="no_such")
