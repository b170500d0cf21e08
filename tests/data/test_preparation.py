"""The preparation against hand-made results and Pillow."""

import json

import numpy as np
import pytest
from PIL import Image

from emotion.data.preparation import Preparation
from emotion.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((90, 90), Image.BICUBIC)
)


def test_an_image_of_the_right_size_is_kept_exactly() -> None:
    image = RNG.integers(0, 256, (48, 48), dtype=np.uint8)
    assert np.array_equal(Preparation(48, 1)(image), image[:, :, None])


def test_grey_is_repeated_for_three_channels() -> None:
    image = RNG.integers(0, 256, (48, 48, 1), dtype=np.uint8)
    assert np.array_equal(Preparation(48, 3)(image), np.concatenate([image] * 3, axis=2))


def test_colour_becomes_grey_as_pillow_makes_it() -> None:
    expected = np.asarray(Image.fromarray(SMOOTH).convert("L"))
    assert np.array_equal(Preparation(90, 1)(SMOOTH)[:, :, 0], expected)


@pytest.mark.parametrize("size_px", [30, 48, 120])
def test_resizing_is_bilinear_with_antialiasing_as_in_pillow(size_px: int) -> None:
    expected = np.asarray(Image.fromarray(SMOOTH).resize((size_px, size_px), Image.BILINEAR)).astype(int)
    assert np.abs(Preparation(size_px, 3)(SMOOTH).astype(int) - expected).max() <= 1


def test_a_box_is_cut_out_by_column_and_row() -> None:
    image = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    found = Preparation(4, 1)(image, (7, 3, 4, 4))
    assert np.array_equal(found[:, :, 0], image[3:7, 7:11])


def test_the_margin_widens_the_box_and_stops_at_the_border() -> None:
    image = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
    inside = Preparation(8, 1, margin=0.5)(image, (7, 5, 4, 4))
    assert np.array_equal(inside[:, :, 0], image[3:11, 5:13])
    corner = Preparation(6, 1, margin=0.5)(image, (0, 0, 4, 4))
    assert np.array_equal(corner[:, :, 0], image[0:6, 0:6])


def centred(image: np.ndarray, edge: int) -> np.ndarray:
    """What is cut out or padded, a pixel at a time."""
    found = np.zeros((edge, edge, *image.shape[2:]), image.dtype)
    shifts = [(n - edge) // 2 if n > edge else -((edge - n) // 2) for n in image.shape[:2]]
    for row in range(edge):
        for column in range(edge):
            y, x = row + shifts[0], column + shifts[1]
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                found[row, column] = image[y, x]
    return found


@pytest.mark.parametrize("shape", [(9, 9), (20, 31), (9, 30), (31, 8), (11, 11), (10, 12)])
def test_the_centre_is_cut_out_or_padded_with_black(shape: tuple[int, int]) -> None:
    image = RNG.integers(1, 256, shape, dtype=np.uint8)
    assert np.array_equal(Preparation(11, 1, crop_px=11)(image)[:, :, 0], centred(image, 11))
    colour = RNG.integers(1, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(Preparation(11, 3, crop_px=11)(colour), centred(colour, 11))


def test_a_cut_is_enlarged_and_a_box_comes_first() -> None:
    image = RNG.integers(0, 256, (40, 40), dtype=np.uint8)
    enlarged = Preparation(20, 1, crop_px=10)(image)
    assert np.array_equal(enlarged, Preparation(20, 1)(image[15:25, 15:25]))
    boxed = Preparation(10, 1, crop_px=10)(image, (2, 4, 20, 20))
    assert np.array_equal(boxed[:, :, 0], image[9:19, 7:17])


@pytest.mark.parametrize("box", [(40, 0, 5, 5), (0, 0, 0, 5), (0, 0, -3, 5), (-9, -9, 4, 4)])
def test_an_impossible_box_is_a_data_error(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(DataError, match="empty or outside of the image of 30 × 20"):
        Preparation(8, 1)(np.zeros((20, 30), np.uint8), box)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected an image"):
        Preparation(8, 1)(image)


def test_a_read_only_image_is_accepted_and_left_alone() -> None:
    image = SMOOTH.copy()
    image.flags.writeable = False
    Preparation(30, 3)(image[:, ::-1])
    assert np.array_equal(image, SMOOTH)


def test_it_survives_json_and_refuses_another_format() -> None:
    preparation = Preparation(64, 3, margin=0.1)
    data = json.loads(json.dumps(preparation.to_dict()))
    assert Preparation.from_dict(data) == preparation
    with pytest.raises(DataError, match="found format 3"):
        Preparation.from_dict(data | {"format": 3})


@pytest.mark.parametrize("arguments", [(0, 1, 0.0), (48, 2, 0.0), (48, 1, -0.1)])
def test_impossible_settings_are_refused(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(ConfigError):
        Preparation(*arguments)
