"""Augmentation: a function of an image and its stream, and what each strength does."""

import colorsys
import pickle
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy import ndimage

from emotion import counter
from emotion.data import augment, augment_device
from emotion.data.drawn import DrawnFaces
from emotion.data.preparation import Preparation
from emotion.registry import Named
from emotion.schema.images import AugmentBasic, AugmentNone, AugmentRand, AugmentTrivial

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
SAMPLE = torch.nn.functional.grid_sample
POLICIES = [AugmentBasic(saturation=0.3, hue=0.1, erase=0.5), AugmentTrivial(), AugmentRand()]


def policy(**changes: float) -> augment.Augmenter:
    """Nothing but `changes`."""
    found = augment.build(AugmentBasic(**NOTHING | changes))
    assert found is not None
    return found


def drawn_face(number: int, channels: int) -> np.ndarray:
    return Preparation(48, channels)(DrawnFaces(count=24, persons=24, size_px=48).read(number))


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


def on_device(section: AugmentBasic, images: np.ndarray, streams: np.ndarray) -> np.ndarray:
    """What the torch back end makes of them, on the CPU."""
    change = augment.build(section)
    assert isinstance(change, augment.Basic)
    changes = change.changes(streams, *images.shape[1:3]).astype(np.float32)
    made = change.on_device(torch.from_numpy(images), torch.from_numpy(changes))
    assert made.dtype == torch.uint8
    assert made.is_contiguous()
    return made.numpy()


STEPS = [
    {"rotate_deg": 25.0, "shift": 0.1, "shear_deg": 10.0, "zoom": 0.2, "flip": 0.5},
    {"brightness": 0.4, "contrast": 0.4},
    {"saturation": 0.4},
    {"hue": 0.5},
    {"erase": 1.0},
    {
        "rotate_deg": 10.0,
        "zoom": 0.1,
        "flip": 0.5,
        "brightness": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "erase": 0.5,
    },
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: "+".join(step))
def test_the_device_makes_what_the_host_makes(step: dict[str, float], channels: int) -> None:
    """Up to rounding: the host rounds after each step, hue to 1/256 of its circle and places to 1/32 pixel."""
    faces = np.stack([drawn_face(n, channels) for n in range(24)])
    section, streams = AugmentBasic(**NOTHING | step), counter.mix(4, np.arange(24))
    host = augment.build(section)
    assert host is not None
    expected, found = host(faces, streams).astype(int), on_device(section, faces, streams)
    assert found.shape == faces.shape
    assert (np.abs(found - expected)).mean() < 0.5
    assert (np.abs(found - expected)).max() <= 10
    if not (channels == 1 and step.keys() <= {"saturation", "hue"}):  # grey has none
        assert np.abs(found.astype(int) - faces).mean() > 1.5


def test_other_numbers_on_the_device_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against what the two could differ in and nobody see: the turn's direction, the border, half a pixel."""
    face = np.stack([drawn_face(1, 1)] * 8)
    section, streams = AugmentBasic(**NOTHING | {"rotate_deg": 20.0}), counter.mix(2, np.arange(8))
    host = augment.build(section)
    assert host is not None
    expected = host(face, streams).astype(int)

    def differs() -> bool:
        return bool(np.abs(on_device(section, face, streams) - expected).max() > 10)

    assert not differs()
    real = augment._inverse
    with monkeypatch.context() as patched:
        patched.setattr(augment, "_inverse", lambda drawn, *rest: real(-drawn, *rest))
        assert differs()
    for wrong in ({"padding_mode": "border"}, {"align_corners": False}):
        with monkeypatch.context() as patched:
            patched.setattr(augment_device.F, "grid_sample", partial(_sampled, wrong))
            assert differs()


def _sampled(
    wrong: dict[str, Any], x: Any, places: Any, mode: str, padding_mode: str, align_corners: bool
) -> Any:
    return SAMPLE(x, places, mode, **({"padding_mode": padding_mode, "align_corners": align_corners} | wrong))


def test_the_device_s_geometry_is_that_of_its_matrix() -> None:
    """Against SciPy's resampling, to the last grey level: nothing is rounded on the way."""
    section, streams = AugmentBasic(**NOTHING | STEPS[0]), counter.mix(3, np.arange(6))
    change = augment.build(section)
    assert isinstance(change, augment.Basic)
    found = on_device(section, np.stack([SMOOTH] * 6), streams)
    for made, row in zip(found, change.changes(streams, 49, 49), strict=True):
        matrix = row[augment.INVERSE].reshape(2, 3)
        swapped, offset = matrix[::-1, 1::-1], matrix[::-1, 2]
        expected = ndimage.affine_transform(
            SMOOTH[..., 0].astype(float), swapped, offset, order=1, mode="mirror"
        )
        assert np.abs(made[..., 0] - expected).max() <= 0.51


def test_the_device_s_hue_is_python_s() -> None:
    section, streams = AugmentBasic(**NOTHING | {"hue": 0.5}), counter.mix(7, np.arange(5))
    change = augment.build(section)
    assert isinstance(change, augment.Basic)
    found = on_device(section, np.stack([COLOUR] * 5), streams)
    for made, turn in zip(found, change.changes(streams, 24, 24)[:, augment.HUE], strict=True):
        for pixel, before in zip(made.reshape(-1, 3)[:80], COLOUR.reshape(-1, 3)[:80] / 255, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            expected = 255 * np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
            assert np.abs(pixel - expected).max() <= 0.51


def test_the_device_leaves_alone_what_is_to_stay() -> None:
    section = AugmentBasic(saturation=0.3, hue=0.1, erase=0.5)
    change = augment.build(section)
    assert isinstance(change, augment.Basic)
    images = torch.from_numpy(np.stack([COLOUR] * 3))
    rows = torch.from_numpy(np.stack([change.unchanged()] * 3)).float()
    assert torch.equal(change.on_device(images, rows), images)


@pytest.mark.parametrize(
    ("section", "device", "expected"),
    [
        (AugmentBasic(), "cpu", "host"),
        (AugmentBasic(), "cuda", "device"),
        (AugmentBasic(), "mps", "host"),
        (AugmentBasic(backend="host"), "cuda", "host"),
        (AugmentBasic(backend="device"), "cpu", "device"),
        (AugmentTrivial(), "cuda", "host"),
        (AugmentNone(), "cuda", "host"),
    ],
)
def test_where_pixels_are_computed(section: Any, device: str, expected: str) -> None:
    assert augment.resolve_backend(section, device) == expected


def test_a_policy_s_own_key_named_backend_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a policy that can't leave its arithmetic to the device."""

    class Section(Named):
        name: Literal["inverted"] = "inverted"
        backend: Literal["numpy", "cv2"] = "cv2"

    given = []

    class Inverted:
        def __init__(self, backend: str) -> None:
            given.append(backend)

    monkeypatch.setattr(augment, "entries", lambda group: {"inverted": SimpleNamespace(builder="here")})
    monkeypatch.setattr(augment, "builder", lambda group, name: Inverted)
    augment.build(Section())
    assert given == ["cv2"]
    assert augment.resolve_backend(Section(), "cuda") == "host"
