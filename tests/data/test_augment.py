"""Augmentation: a function of an image and its stream, and what each strength does."""

import pickle
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from emotion import counter
from emotion.data import augment
from emotion.schema import AugmentBasic, AugmentNone, AugmentRand, AugmentTrivial

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (24, 24, 1), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)
SMOOTH = np.clip(ndimage.gaussian_filter(RNG.random((49, 49)), 3) * 900 - 320, 0, 255).astype(np.uint8)[
    ..., None
]
NOTHING = dict.fromkeys(
    (
        "rotate_deg",
        "shift",
        "shear_deg",
        "zoom",
        "flip",
        "brightness",
        "contrast",
        "saturation",
        "hue",
        "erase",
    ),
    0.0,
)
POLICIES = [AugmentBasic(saturation=0.3, hue=0.1, erase=0.5), AugmentTrivial(), AugmentRand()]


def policy(**changes: float) -> augment.Augmenter:
    """Nothing but `changes`."""
    found = augment.build(AugmentBasic(**NOTHING | changes))
    assert found is not None
    return found


def many(change: augment.Augmenter, image: np.ndarray, count: int = 100) -> np.ndarray:
    """The image as `count` streams change it."""
    return change(np.stack([image] * count), counter.mix(1, np.arange(count)))


def test_none_changes_nothing() -> None:
    assert augment.build(AugmentNone()) is None


@pytest.mark.parametrize("section", POLICIES, ids=lambda s: s.name)
@pytest.mark.parametrize("image", [IMAGE, COLOUR], ids=["grey", "colour"])
def test_a_change_depends_on_the_stream_alone(section: Any, image: np.ndarray) -> None:
    """Not on the batch around it, on generators, or on what was changed before; and a pickled policy is the same."""
    change = augment.build(section)
    assert change is not None
    images, streams = np.stack([image] * 12), counter.mix(0, np.arange(12))
    together = change(images, streams)
    assert together.shape == images.shape
    assert together.dtype == np.uint8
    assert np.array_equal(images, np.stack([image] * 12))
    assert len({made.tobytes() for made in together}) >= 7
    again = pickle.loads(pickle.dumps(change))
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for n in (7, 3, 7):
        assert np.array_equal(again(images[n : n + 1], streams[n : n + 1])[0], together[n])
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("image", [IMAGE, COLOUR], ids=["grey", "colour"])
def test_at_strength_zero_the_image_stays(image: np.ndarray) -> None:
    assert np.array_equal(many(policy(), image, 5), np.stack([image] * 5))


def test_flip_mirrors_left_and_right() -> None:
    assert np.array_equal(many(policy(flip=1.0), COLOUR, 3), np.stack([COLOUR[:, ::-1]] * 3))
    flipped = sum(np.array_equal(made, IMAGE[:, ::-1]) for made in many(policy(flip=0.25), IMAGE, 400))
    assert 70 < flipped < 130


def test_the_geometry_is_that_of_its_matrix() -> None:
    """Against SciPy's resampling, with the matrix put together step by step from the drawn numbers."""
    change = policy(rotate_deg=25.0, shift=0.1, shear_deg=10.0, zoom=0.2, flip=0.5)
    streams = counter.mix(3, np.arange(6))
    found = change(np.stack([SMOOTH] * 6), streams)
    for made, drawn in zip(found, counter.uniform(streams, 11), strict=True):
        turn, across, down, zoom, right, below = 2 * drawn[:6] - 1
        angle = np.radians(25) * turn
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shear = np.array([[1, np.tan(np.radians(10) * across)], [np.tan(np.radians(10) * down), 1]])
        mirror = np.diag([-1.0 if drawn[10] < 0.5 else 1.0, 1.0])
        inverse = mirror @ rotation @ shear / (1 + 0.2 * zoom)  # of (x, y) about the centre
        swapped = inverse[::-1, ::-1]  # of (row, column)
        shift = 0.1 * 49 * np.array([below, right])
        expected = ndimage.affine_transform(
            SMOOTH[..., 0].astype(float), swapped, 24 - swapped @ (24 + shift), order=1, mode="mirror"
        )
        assert np.abs(made[..., 0] - expected).max() <= 6  # OpenCV rounds places to 1/32 pixel
        assert np.abs(made[..., 0] - expected).mean() < 0.7


def test_strengths_are_bounds_that_are_reached() -> None:
    grey = np.full((8, 8, 1), 100, np.uint8)
    levels = many(policy(brightness=0.2), grey)[:, 0, 0, 0].astype(int)
    assert levels.min() in range(80, 84)
    assert levels.max() in range(117, 121)
    spans = np.array([np.ptp(made) for made in many(policy(contrast=0.2), IMAGE // 3 + 80)]) / np.ptp(
        IMAGE // 3 + 80
    )
    assert 0.78 < spans.min() < 0.83
    assert 1.17 < spans.max() < 1.22
    means = many(policy(contrast=0.2), IMAGE // 3 + 80).mean(axis=(1, 2, 3))
    assert np.abs(means - (IMAGE // 3 + 80).mean()).max() < 1


def test_light_and_saturation_are_torchvision_s() -> None:
    import torch
    from torchvision.transforms.v2 import functional as tv

    streams = counter.mix(5, np.arange(8))
    drawn = 2 * counter.uniform(streams, 10) - 1
    pixels = torch.from_numpy(COLOUR).permute(2, 0, 1)
    for column, name, adjust in ((6, "brightness", tv.adjust_brightness), (7, "contrast", tv.adjust_contrast),
                                 (8, "saturation", tv.adjust_saturation)):  # fmt: skip
        found = policy(**{name: 0.4})(np.stack([COLOUR] * 8), streams)
        for made, factor in zip(found, 1 + 0.4 * drawn[:, column], strict=True):
            expected = adjust(pixels, float(factor)).permute(1, 2, 0).numpy()
            assert np.abs(made.astype(int) - expected).max() <= 1, name


def test_hue_turns_the_colour_circle() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    turned = many(policy(hue=0.5), red)[:, 0, 0]
    assert (turned.max(axis=1) >= 195).all()  # the value stays
    assert {int(np.argmax(colour)) for colour in turned} == {0, 1, 2}
    slightly = many(policy(hue=0.05), red)[:, 0, 0].astype(int)
    assert (slightly.argmax(axis=1) == 0).all()
    assert slightly[:, 1:].max() in range(45, 63)  # 0.05 of the circle is 0.3 of the way to yellow
    assert np.array_equal(
        many(policy(hue=0.5, saturation=0.5), IMAGE, 4), np.stack([IMAGE] * 4)
    )  # grey has none


def test_erasing_fills_one_rectangle() -> None:
    black = np.zeros((40, 30, 1), np.uint8)
    made = many(policy(erase=0.5), black + 7, 400)[..., 0]
    erased = made != 7
    hit = erased.any(axis=(1, 2))
    assert 150 < hit.sum() < 250
    for picture, where in zip(made[hit], erased[hit], strict=True):
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        box = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert len(np.unique(box)) == 1
        assert where.sum() == box.size
        assert 0.01 < box.size / 1200 < 0.36
    assert (many(policy(erase=1.0), black + 7, 3000) != 7).any(axis=(0, 3)).all()  # every place can be hit


def test_it_is_drawn_again_from_every_stream() -> None:
    """A stream without the draw number would make one image of twenty draws; this is how it would be seen."""
    change = augment.build(AugmentBasic())
    assert change is not None
    images = np.stack([IMAGE] * 20)
    draws = np.arange(20)
    assert len({made.tobytes() for made in change(images, counter.mix(0, 0, 9, draws))}) == 20
    assert len({made.tobytes() for made in change(images, counter.mix(0, 0, 9, 0 * draws))}) == 1
