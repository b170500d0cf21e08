"""What a file of ours says of itself: its format, and the version that wrote it. A later version reads it too."""

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from emotion.errors import RunError


def stamp(number: int) -> dict[str, Any]:
    """What a file begins with."""
    made: dict[str, Any] = {"format": number}
    with suppress(PackageNotFoundError):  # a checkout that was never installed
        made["version"] = version("emotion")
    return made


def require(path: Path, content: Mapping[str, Any], number: int, writer: str | None = None) -> None:
    """
    Args:
        writer: the version that wrote a file that doesn't say so itself.

    Raises:
        RunError: `content` isn't of this format; the text names the version that reads it.
    """
    if content.get("format") != number:
        needed = content.get("version") or writer or "in the version that wrote it"
        raise RunError(
            f"{path}: expected format {number}, found format {content.get('format')!r}. "
            f"It needs emotion {needed} or a later one."
        )
