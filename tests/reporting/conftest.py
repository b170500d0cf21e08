"""Runs and their reports, made once."""

import io

import pytest
from PIL import Image

from emotion.reporting.report import make_page, render
from emotion.runs import RunFolder
from tests.reporting import fakes
from tests.reporting.page_tree import Node, parse


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made = fakes.make_run(tmp_path_factory.mktemp("runs"), count=400, leaks=40, notes=["faces of actors"])
    picture = io.BytesIO()
    Image.new("RGB", (200, 100), "white").save(picture, "PNG")
    (made.path / "figures").mkdir()
    made.file("figures/augmentation_grid.png").write_bytes(picture.getvalue())
    return made


@pytest.fixture(scope="session")
def html(run: RunFolder) -> str:
    return render(make_page([run], fakes.faces))


@pytest.fixture(scope="session")
def page(html: str) -> Node:
    return parse(html)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Four folds of two configurations."""
    runs = tmp_path_factory.mktemp("sweep")
    return [
        fakes.make_run(
            runs, count=150, fold=fold, skill=skill, config={"model.name": name, "optimizer.lr": lr}
        )
        for name, lr, skill in (("minivgg", 0.001, 1.0), ("resnet18", 0.003, 1.6))
        for fold in range(4)
    ]


@pytest.fixture(scope="session")
def sweep_html(sweep: list[RunFolder]) -> str:
    return render(make_page(sweep, fakes.faces))


@pytest.fixture(scope="session")
def sweep_page(sweep_html: str) -> Node:
    return parse(sweep_html)
