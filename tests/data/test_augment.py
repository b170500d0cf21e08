"""Augmentation: a function of (seed, epoch, key, draw), and what the basic policy does to an image."""

import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from emotion.data import augment
from emotion.errors import ConfigError
from emotion.schema import AugmentBasic, AugmentNone

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 24, 1), dtype=np.uint8)
NOTHING: dict[str, Any] = {
    "rotate_deg": 0.0,
    "shift": 0.0,
    "shear_deg": 0.0,
    "zoom": 0.0,
    "flip": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
}


def basic(**changes: float) -> augment.Augmenter:
    found = augment.build(AugmentBasic(**changes))
    assert found is not None
    return found


def distinct(call: Any, count: int = 20) -> int:
    """How many different images `call(n)` makes for n = 0, 1, …"""
    return len({call(n).tobytes() for n in range(count)})


def test_none_changes_nothing() -> None:
    assert augment.build(AugmentNone()) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_type_stay_and_the_original_too(channels: int) -> None:
    image = np.repeat(IMAGE, channels, axis=2)
    before = image.copy()
    changed = basic()(image, 0, 0, 1, 0)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert np.array_equal(image, before)


def test_it_is_a_function_of_seed_epoch_key_and_draw() -> None:
    one, other = basic(), basic()
    for arguments in [(0, 0, 1, 0), (3, 7, 2**64 - 1, 19)]:
        first = one(IMAGE, *arguments)
        other(IMAGE, 9, 9, 9, 9)  # whatever was drawn before doesn't matter
        assert np.array_equal(first, other(IMAGE, *arguments))


def test_each_of_the_four_changes_the_image() -> None:
    change = basic()
    assert distinct(lambda n: change(IMAGE, n, 0, 1, 0)) == 20
    assert distinct(lambda n: change(IMAGE, 0, n, 1, 0)) == 20
    assert distinct(lambda n: change(IMAGE, 0, 0, n, 0)) == 20
    assert distinct(lambda n: change(IMAGE, 0, 0, 1, n)) == 20


def test_a_seed_that_ignores_the_draw_number_would_be_noticed() -> None:
    change = basic()
    assert distinct(lambda n: change(IMAGE, 0, 0, 1, 0 * n)) == 1


def test_the_python_and_numpy_generators_are_neither_used_nor_moved() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = basic()(IMAGE, 0, 0, 1, 0)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(first, basic()(IMAGE, 0, 0, 1, 0))


def test_at_strength_zero_the_image_stays() -> None:
    change = basic(**NOTHING)
    assert all(np.array_equal(change(IMAGE, 0, 0, 1, n), IMAGE) for n in range(5))


def test_flip_mirrors_left_and_right() -> None:
    assert np.array_equal(basic(**NOTHING | {"flip": 1.0})(IMAGE, 0, 0, 1, 0), IMAGE[:, ::-1])
    change = basic(**NOTHING | {"flip": 0.25})
    flipped = sum(np.array_equal(change(IMAGE, 0, 0, key, 0), IMAGE[:, ::-1]) for key in range(400))
    assert 70 < flipped < 130


def centre(image: np.ndarray) -> tuple[float, float]:
    weights = image[..., 0].astype(float)
    rows, columns = np.indices(weights.shape)
    return (rows * weights).sum() / weights.sum(), (columns * weights).sum() / weights.sum()


SPOT = np.zeros((49, 49, 1), np.uint8)
SPOT[22:27, 22:27] = 200


def test_shift_moves_by_at_most_its_share_of_the_edge() -> None:
    change = basic(**NOTHING | {"shift": 0.2})
    moved = np.array([centre(change(SPOT, 0, 0, key, 0)) for key in range(200)]) - 24
    assert np.abs(moved).max() <= 0.2 * 49 + 1
    assert np.abs(moved).max() > 0.15 * 49
    assert abs(moved.mean()) < 1.5


def test_zoom_rotation_shear_and_light_do_what_they_say() -> None:
    bar = np.zeros((49, 49, 1), np.uint8)
    bar[23:26, 8:41] = 200

    def spread(image: np.ndarray, axis: int) -> float:
        weights = image[..., 0].sum(axis=1 - axis).astype(float)
        place = np.arange(49)
        middle = (place * weights).sum() / weights.sum()
        return float(np.sqrt(((place - middle) ** 2 * weights).sum() / weights.sum()))

    zoom = basic(**NOTHING | {"zoom": 0.2})
    widths = [spread(zoom(bar, 0, 0, key, 0), 1) / spread(bar, 1) for key in range(100)]
    assert 0.75 < min(widths) < 0.9
    assert 1.1 < max(widths) < 1.25
    turn = basic(**NOTHING | {"rotate_deg": 30.0})
    heights = [spread(turn(bar, 0, 0, key, 0), 0) for key in range(100)]
    assert max(heights) == pytest.approx(spread(bar, 1) * np.sin(np.radians(30)), rel=0.15)
    shear = basic(**NOTHING | {"shear_deg": 30.0})
    assert max(spread(shear(bar, 0, 0, key, 0), 0) for key in range(50)) > 2 * spread(bar, 0)
    grey = np.full((8, 8, 1), 128, np.uint8)
    bright = basic(**NOTHING | {"brightness": 0.2})
    levels = [int(bright(grey, 0, 0, key, 0)[0, 0, 0]) for key in range(100)]
    assert 128 - 0.2 * 255 - 1 <= min(levels) < 128 - 0.1 * 255
    assert 128 + 0.1 * 255 < max(levels) <= 128 + 0.2 * 255 + 1
    contrast = basic(**NOTHING | {"contrast": 0.2})
    span = [np.ptp(contrast(IMAGE // 2, 0, 0, key, 0)) / np.ptp(IMAGE // 2) for key in range(100)]
    assert 0.78 < min(span) < 0.9
    assert 1.1 < max(span) < 1.22


def test_it_survives_pickling() -> None:
    change = basic()
    again = pickle.loads(pickle.dumps(change))
    assert np.array_equal(change(IMAGE, 0, 0, 1, 0), again(IMAGE, 0, 0, 1, 0))


def test_what_albumentations_only_warns_of_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import albumentations

    real = albumentations.HorizontalFlip
    monkeypatch.setattr(albumentations, "HorizontalFlip", lambda p: real(p=p, strenght=3))
    with pytest.raises(ConfigError, match="albumentations refuses the augmentation: .*strenght"):
        basic()


def test_importing_albumentations_asks_the_network_for_nothing() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('asked the network')\n"
        "socket.getaddrinfo = socket.create_connection = refuse\n"
        "from emotion.data import augment; from emotion.schema import AugmentBasic\n"
        "augment.build(AugmentBasic())\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
