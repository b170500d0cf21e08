"""What all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def emotion_data() -> Path:
    """The folder with the real data sets, named by EMOTION_DATA; tests that need it skip where it is unset."""
    value = os.environ.get("EMOTION_DATA")
    if not value:
        pytest.skip("EMOTION_DATA is not set: it names the folder with the real data sets")
    root = Path(value)
    if not root.is_dir():
        pytest.fail(f"EMOTION_DATA names {root}, which is not a folder")
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that ask for the real data carry the marker `real_data`, so that one can choose them."""
    for item in items:
        if "emotion_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
