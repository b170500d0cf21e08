"""Draw the README's picture: `python experiments/first_light/picture.py`."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emotion.data.drawn import DrawnFaces
from emotion.data.portrait import draw

FACES = DrawnFaces(count=2000, size_px=96, difficulty=0.1, label_noise=0.0, imbalance=0.0, persons=24, seed=0)
PERSONS = (16, 6, 17, 9, 15)  # five who look different
OUT = Path(__file__).with_name("faces.png")
GAP_PX, EDGE_PX, HEAD_PX = 4, 12, 30
COLOURS, NOISE = 256, 3
PAPER, INK = (255, 255, 255), (60, 60, 67)


def sheet() -> Image.Image:
    """A row a person, a column an expression."""
    size, names = FACES.size_px, FACES.class_names
    step = size + GAP_PX
    width = 2 * EDGE_PX + len(names) * step - GAP_PX
    height = HEAD_PX + EDGE_PX + len(PERSONS) * step - GAP_PX
    page = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for column, name in enumerate(names):
        middle = EDGE_PX + column * step + size // 2
        pen.text((middle, HEAD_PX // 2 + 1), name, INK, font, anchor="mm")
        for row, person in enumerate(PERSONS):
            page.paste(Image.fromarray(face(person, column)), (EDGE_PX + column * step, HEAD_PX + row * step))
    return page


def face(person: int, expression: int) -> np.ndarray:
    """The set's first image of this person with this expression, without its grain: (S, S, 3) uint8."""
    of_person = FACES.frame()["group"].to_numpy() == f"person-{person:06d}"
    index = int(np.flatnonzero(of_person & (FACES.true_labels() == expression))[0])
    scene = FACES.scene(index)
    return draw(scene.person, scene.units, scene.view, FACES.size_px)


def save(page: Image.Image, path: Path) -> None:
    """With a palette, which keeps the file small; faint noise hides its steps, for fewer bytes than dithering."""
    palette = page.quantize(COLOURS, kmeans=3)
    pixels = np.asarray(page).astype(np.int16)
    noise = np.random.default_rng(0).integers(-NOISE, NOISE + 1, (*pixels.shape[:2], 1))
    noisy = np.where(pixels.min(axis=2, keepdims=True) < 255, pixels + noise, pixels)
    flat = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    flat.quantize(COLOURS, palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=OUT)
    out = parser.parse_args().out
    save(sheet(), out)
    print(f"{out}: {out.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
