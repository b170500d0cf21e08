"""Expression names: one canonical spelling, and what the data sets call them."""

import difflib

from emotion.errors import DataError

EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")

_ALIASES = {
    "neutral": ("neutrality", "ne", "normal"),
    "happiness": ("happy", "ha", "joy"),
    "sadness": ("sad", "sa"),
    "surprise": ("surprised", "su", "suprise"),
    "fear": ("afraid", "fearful", "fe", "scared"),
    "disgust": ("disgusted", "di"),
    "anger": ("angry", "an", "mad"),
    "contempt": ("contemptuous", "co"),
}
_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}


def canonical(name: str) -> str:
    """The canonical expression that a data set's label name means.

    >>> canonical(" Angry ")
    'anger'

    Raises:
        DataError: the name is no expression; the text offers the nearest one.
    """
    key = name.strip().lower()
    if key in _CANONICAL:
        return _CANONICAL[key]
    near = difflib.get_close_matches(key, _CANONICAL, n=1)
    hint = f"; the nearest known name is {near[0]!r}" if near else ""
    raise DataError(f"expected an expression ({', '.join(EXPRESSIONS)}), found the label {name!r}{hint}.")
