"""Which data set a folder holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotion import registry
from emotion.data.layout import archives, existing_root, listing
from emotion.errors import DataError, EmotionError, LayoutError
from emotion.schema.data import DataConfig

# Forms that any set can have: taken only where nothing more particular fits.
_GENERAL = frozenset({"folder", "csv"})
# A download that holds another one, whose layout fits too.
_HOLDS = {"ferplus": "fer2013"}


def data_sets() -> dict[str, type[DataConfig]]:
    """The schemas of all data sets by name."""
    return {
        name: entry.schema
        for name, entry in registry.entries("data").items()
        if issubclass(entry.schema, DataConfig)
    }


def needs_root(name: str) -> bool:
    """Whether a data set is read from a folder, rather than made from its options."""
    return _refusal(name, None) is not None


def recognise(root: Path) -> str:
    """The name of the data set whose layout `root` has.

    Raises:
        DataError: it is none's, or several'; or it is one that has something wrong with its layout.
    """
    place = existing_root(root, "a data set")
    refusals = {name: _refusal(name, root) for name in data_sets() if needs_root(name)}
    found = [name for name, refusal in refusals.items() if refusal is None]
    particular = [name for name in found if name not in _GENERAL]
    particular = [name for name in particular if not any(_HOLDS.get(other) == name for other in particular)]
    wrong = {
        str(refusal): name
        for name, refusal in refusals.items()
        if refusal is not None and not isinstance(refusal, LayoutError) and name not in _GENERAL
    }
    if not particular and wrong:
        raise DataError("\n  ".join(wrong))
    found = particular or found
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"expected one data set in {root}, found the layouts of {', '.join(found)}. Add data=NAME to choose one."
        )
    raise DataError(_unknown(place, refusals))


def _unknown(place: Path, refusals: Mapping[str, EmotionError | None]) -> str:
    """What lies there instead, and what was looked for."""
    if place.is_file():
        return (
            f"no data set was recognised in the file {place}. If it is an archive, unpack it first; if it is a "
            "table of pictures, name its columns: data=csv data.path=… data.label=…"
        )
    said = f"no data set was recognised in {place}, which holds {listing(place)}."
    if packed := archives(place):
        return f"{said} Unpack {packed[0]} first."
    layouts = [f"{name}: {_layouts(name) or refusal}" for name, refusal in refusals.items()]
    return "\n  ".join(
        [
            f"{said} These layouts are known, right there or in a folder below; `emotion data card NAME` says where a "
            "set can be had, and with data=NAME you are told what is missing:",
            *layouts,
        ]
    )


def _layouts(name: str) -> str:
    reader: Any = registry.builder("data", name)
    return "; or ".join(reader.FACTS.layouts) if hasattr(reader, "FACTS") else ""


def _refusal(name: str, root: Path | None) -> EmotionError | None:
    """Why a reader doesn't take a folder; None if it does."""
    reader: Any = registry.builder("data", name)
    options = data_sets()[name].model_validate({"name": name}).reader_options()
    try:
        reader.signature(root, **options)
        if root is not None and hasattr(reader, "distinguish"):  # its layout is not its own
            reader.distinguish(root)
    except EmotionError as error:
        return error
    return None
