"""Drawn faces as a data set: nothing on disk, everything from the options."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from emotion.data.drawn import REVISION, DrawnFaces
from emotion.data.facts import Facts
from emotion.data.table import SampleTable
from emotion.labels import EXPRESSIONS

NATURAL_SIZE_PX = 48  # the default of the option size_px
CHANNELS = 3

FACTS = Facts(
    title="Drawn faces",
    citation="none: this project draws them",
    licence="MIT, as this project",
    source="nothing has to be downloaded: data=drawn.",
    layouts=("none: nothing is read from disk",),
    classes=EXPRESSIONS,
    group="the person",
    cautions=("The faces are drawn, not photographed.",),
)


def signature(root: Path | None = None, **options: Any) -> str:
    """Names what `read` would make: the generator's revision and all options, those at their defaults too."""
    values = asdict(DrawnFaces(**options)).items()
    return "-".join([f"drawn-{REVISION}", *(f"{name}={value}" for name, value in values)])


def read(root: Path | None = None, **options: Any) -> SampleTable:
    """The table of a set of drawn faces; the group is the person, the split is left to the caller.

    Args:
        root: Not used: there is nothing to read from.
        **options: Fields of `DrawnFaces`.

    Raises:
        ConfigError: an option's value is out of range.
    """
    faces = DrawnFaces(**options)
    frame = faces.frame()
    wrong = int(np.count_nonzero(frame["label"].to_numpy() != faces.true_labels()))
    notes = [*FACTS.cautions]
    if wrong:
        notes.append(
            f"{wrong:,} of {faces.count:,} labels are wrong on purpose (label_noise={faces.label_noise})."
        )
    return SampleTable("drawn", faces.class_names, frame, faces, notes=tuple(notes))
