"""Kinds of values that the sections share, and the mark of those that are paths. Imports no torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class PathKey:
    """Marks a key whose value is a path: quoted before Hydra sees it, expanded, and never part of the identity.

    `stands_for` says what stands in the identity instead: "data" (the fingerprint of the prepared data), "content"
    (a digest of the file) or "run" (the identity of the finished run in that folder).
    """

    def __init__(self, stands_for: Literal["data", "content", "run", "nothing"]) -> None:
        self.stands_for = stands_for


DataPath = Annotated[Path | None, PathKey("data")]
ContentPath = Annotated[Path | None, PathKey("content")]
RunPath = Annotated[
    Path | None, PathKey("run"), AfterValidator(lambda path: path and path.expanduser().resolve())
]
MachinePath = Annotated[Path, PathKey("nothing")]
OptionalMachinePath = Annotated[Path | None, PathKey("nothing")]


def path_key(field: FieldInfo) -> PathKey | None:
    """The mark of a path-valued field, None for every other field."""
    marks = [mark for mark in field.metadata if isinstance(mark, PathKey)]
    return marks[0] if marks else None
