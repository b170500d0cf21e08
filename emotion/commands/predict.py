"""`emotion predict RUN IMAGE…`"""

import json as encoder
from pathlib import Path

from rich.table import Table

from emotion import load_run
from emotion.commands.printing import print_table
from emotion.errors import DataError
from emotion.predictor import Prediction
from emotion.runs import RunFolder
from emotion.studies.again import with_weights


def predict(run: Path, images: list[Path], json: bool) -> None:
    """Print a row an image, or a JSON line an image.

    Raises:
        DataError: images can't be read; all others are shown before.
    """
    RunFolder.open(run)
    if not any(image.expanduser().exists() for image in images):
        # said before a kept run is trained again for them
        raise DataError(f"expected an image, but {images[0]} can't be read: No such file or directory.")
    model = load_run(with_weights(run).path)
    table = Table(box=None, pad_edge=False)
    table.add_column("image")
    table.add_column("perceived")
    for name in model.classes:
        table.add_column(name, justify="right")
    broken = []
    for image, found in zip(images, model.predict_each(images), strict=True):
        if isinstance(found, DataError):
            broken.append(str(found))
        if json:
            print(encoder.dumps({"image": str(image), **_facts(found)}, ensure_ascii=False))
        elif not isinstance(found, DataError):
            values = [f"{p:.1%}" for p in found.probabilities.values()]
            table.add_row(str(image), found.label, *values)
    if table.row_count:
        print_table(table)
    if broken:
        count = f"{len(broken)} of {len(images)} images can't be used.\n" if len(images) > 1 else ""
        raise DataError(count + "\n".join(broken))


def _facts(found: Prediction | DataError) -> dict[str, object]:
    if isinstance(found, DataError):
        return {"error": str(found)}
    return {"label": found.label, "probabilities": found.probabilities}
