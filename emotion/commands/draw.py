"""`emotion data draw`"""

import shlex
from pathlib import Path

from emotion.data import mimic


def draw(form: str, folder: Path, count: int, seed: int) -> None:
    """Write the tree, say what is in it and how to use it."""
    drawn = mimic.draw(form, folder, count, seed)
    broken = ", ".join(f"{n} × {reason}" for reason, n in drawn.quirks.items())
    print(
        f"{len(drawn.labels):,} pictures in the layout of {form}{f'; on purpose also {broken}' if broken else ''}."
    )
    print(shlex.join(["python", "train.py", f"data={mimic.DATA.get(form, form)}", f"data.root={folder}"]))
