"""`emotion predict RUN IMAGE…`"""

import json as encoder
from pathlib import Path

from rich.table import Table

from emotion import load_run
from emotion.commands.printing import print_table
from emotion.errors import DataError
from emotion.runs import RunFolder
from emotion.studies.again import with_weights


def predict(run: Path, images: list[Path], json: bool) -> None:
    """Print a row an image, or a JSON line an image."""
    RunFolder.open(run)
    for image in images:  # said before a kept run is trained again for them
        if not image.expanduser().exists():
            raise DataError(f"expected an image, but {image} can't be read: No such file or directory.")
    model = load_run(with_weights(run).path)
    found = model.predict(images)
    if json:
        for image, prediction in zip(images, found, strict=True):
            line = {"image": str(image), "label": prediction.label, "probabilities": prediction.probabilities}
            print(encoder.dumps(line, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("image")
    table.add_column("perceived")
    for name in model.classes:
        table.add_column(name, justify="right")
    for image, prediction in zip(images, found, strict=True):
        values = [f"{p:.1%}" for p in prediction.probabilities.values()]
        table.add_row(str(image), prediction.label, *values)
    print_table(table)
