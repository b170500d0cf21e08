"""Where prepared data lies."""

import os
from pathlib import Path

MEASURED = "measured.json"
"""In the same folder: what short measurements found to be faster on this machine."""


def default_cache_dir() -> Path:
    """`$EMOTION_CACHE`, else `~/.cache/emotion`."""
    return Path(os.environ.get("EMOTION_CACHE") or Path.home() / ".cache" / "emotion")
