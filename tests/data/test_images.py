"""Decoding: whatever users' folders hold becomes grey or RGB uint8, or an error that says what it is."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emotion.data.images import ImageFiles, decode
from emotion.errors import DataError

RNG = np.random.default_rng(0)
GREY = np.kron(RNG.integers(0, 256, (6, 5), dtype=np.uint8), np.ones((8, 8), np.uint8))
COLOUR = np.kron(RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["png", "bmp", "tiff"])
def test_lossless_forms_come_back_exactly(form: str) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(GREY), form), 1), GREY)
    assert np.array_equal(decode(encoded(Image.fromarray(COLOUR), form), 3), COLOUR)


def test_a_grey_jpg_decodes_as_pillow_decodes_it() -> None:
    data = encoded(Image.fromarray(GREY), "jpeg", quality=90)
    assert np.array_equal(decode(data, 1), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize(("channels", "shape"), [(1, (48, 40)), (3, (48, 40, 3))])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "I;16", "1"])
def test_every_mode_becomes_grey_or_rgb(mode: str, channels: int, shape: tuple[int, ...]) -> None:
    if mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(COLOUR).convert(mode)
    data = encoded(image, "tiff" if mode == "CMYK" else "png")
    found = decode(data, channels)
    assert found.shape == shape
    assert found.dtype == np.uint8
    if mode == "I;16" and channels == 1:
        assert np.array_equal(found, GREY)


def test_a_cmyk_jpg_becomes_rgb() -> None:
    data = encoded(Image.fromarray(COLOUR).convert("CMYK"), "jpeg", quality=95)
    assert decode(data, 3).shape == (48, 40, 3)


def test_a_rotated_photograph_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    data = encoded(Image.fromarray(GREY), "jpeg", quality=95, exif=exif)
    found = decode(data, 1).astype(int)
    assert found.shape == (40, 48)
    assert np.abs(found - np.rot90(GREY, -1).astype(int)).mean() < 3


def test_of_an_animation_the_first_picture_is_taken() -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    data = encoded(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert np.abs(decode(data, 1).astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"this is a text file that somebody named .jpg", "not an image: it begins with b'this is a te"),
        (encoded(Image.fromarray(COLOUR), "jpeg")[:300], "can.t be decoded: Truncated"),
        (encoded(Image.fromarray(COLOUR), "png")[:100], "can't be decoded"),
        (encoded(Image.fromarray(COLOUR), "bmp")[:100], "can't be decoded"),
    ],
)
def test_what_is_no_whole_image_is_a_clear_error(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode(data, 1)


def test_a_huge_picture_is_refused_before_it_fills_the_memory() -> None:
    data = encoded(Image.new("1", (12_000, 12_000)), "png")
    with pytest.raises(DataError, match="too large"):
        decode(data, 1)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        ImageFiles(tmp_path, ["no.jpg"], 1).read(0)
