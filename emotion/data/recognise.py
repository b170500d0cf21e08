"""Which data set a folder holds."""

from pathlib import Path
from typing import Any

from emotion import registry
from emotion.errors import DataError, EmotionError
from emotion.schema import DataConfig

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
        DataError: it is none's, or several'; the text says what each reader looked for.
    """
    refusals = {name: _refusal(name, root) for name in data_sets() if needs_root(name)}
    found = [name for name, refusal in refusals.items() if refusal is None]
    found = [name for name in found if name not in _GENERAL] or found
    found = [name for name in found if not any(_HOLDS.get(other) == name for other in found)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"expected one data set in {root}, found the layouts of {', '.join(found)}. Add data=NAME to choose one."
        )
    raise DataError("\n  ".join([f"no data set was recognised in {root}:", *map(str, refusals.values())]))


def _refusal(name: str, root: Path | None) -> EmotionError | None:
    """Why a reader doesn't take a folder; None if it does."""
    reader: Any = registry.builder("data", name)
    options = data_sets()[name].model_validate({"name": name}).reader_options()
    try:
        reader.signature(root, **options)
    except EmotionError as error:
        return error
    return None
