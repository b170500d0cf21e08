"""The names of all networks, without importing any: timm takes seconds."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from emotion.registry import entries


@cache
def network_names() -> frozenset[str]:
    """The names given to timm by `@register_model` in timm's and our sources, found without importing either."""
    folders = []
    for package, below in (("timm", "models"), ("emotion", "models/networks")):
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            folders.append(Path(spec.submodule_search_locations[0]) / below)
    pattern = re.compile(r"^@register_model(?:\([^)]*\))?\s*\ndef (\w+)", re.MULTILINE)
    found = {
        name
        for folder in folders
        for file in folder.rglob("*.py")
        for name in pattern.findall(file.read_text())
    }
    return frozenset(found | set(entries("model")))
