"""Image files to arrays.

By Pillow: torchvision's decoders are deprecated since 0.29, and OpenCV fills what a truncated file lacks with grey.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from emotion.errors import DataError

MAX_PIXELS = 89_000_000  # a little below the size from which Pillow warns of a decompression bomb


def decode(data: bytes, channels: int) -> np.ndarray:
    """The first picture in an encoded image: uint8, (H, W) for 1 channel, (H, W, 3) RGB for 3, upright.

    Raises:
        DataError: not an image, cut short, or larger than 89 megapixels.
    """
    if not data:
        raise DataError("the file is empty.")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise DataError(f"too large: {width} × {height} pixels.")
            ImageOps.exif_transpose(picture, in_place=True)
            return np.array(_eight_bits(picture).convert("L" if channels == 1 else "RGB"))
    except UnidentifiedImageError:
        raise DataError(f"not an image: it begins with {data[:12]!r}.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"too large: {error}") from None
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything when a file is corrupt
        raise DataError(f"can't be decoded: {error or type(error).__name__}.") from error


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Pictures of 16 bits a pixel by their upper byte, which Pillow would clip at 255 instead."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return picture


class ImageFiles:
    """A source that decodes one file a sample.

    Args:
        root: the folder that `paths` are relative to.
        paths: one relative path a row of the table.
        channels: 1 decodes to grey, 3 to RGB.
    """

    def __init__(self, root: Path, paths: Sequence[str], channels: int) -> None:
        self.root = root
        self.paths = paths
        self.channels = channels

    def read(self, index: int) -> np.ndarray:
        path = self.root / self.paths[index]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"can't be read: {error.strerror or error}.") from error
        return decode(data, self.channels)


class ImageArray:
    """A source that has every image in memory already.

    Args:
        images: uint8, (N, H, W) or (N, H, W, 3).
    """

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def read(self, index: int) -> np.ndarray:
        return np.asarray(self.images[index])
