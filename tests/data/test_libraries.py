"""Other libraries' policies: their generators start anew from each image's stream, and mistakes are errors."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from emotion import counter
from emotion.data import augment
from emotion.errors import ConfigError
from emotion.schema.images import AugmentAlbumentations

IMAGES = np.stack([np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)] * 12)
STREAMS = counter.mix(0, np.arange(12))


def build(*transforms: dict) -> augment.Augmenter:
    found = augment.build(AugmentAlbumentations(transforms=list(transforms)))
    assert found is not None
    return found


def test_albumentations_draws_from_the_stream_alone() -> None:
    change = build({"name": "GaussNoise", "p": 1.0}, {"name": "Affine", "rotate": [-20, 20], "p": 1.0})
    together = change(IMAGES, STREAMS)
    assert together.shape == IMAGES.shape
    assert together.dtype == np.uint8
    assert len({made.tobytes() for made in together}) == 12
    again = pickle.loads(pickle.dumps(change))
    for n in (7, 3, 7):
        assert np.array_equal(again(IMAGES[n : n + 1], STREAMS[n : n + 1])[0], together[n])


def test_grey_images_keep_their_channel() -> None:
    change = build({"name": "HorizontalFlip", "p": 1.0})
    assert np.array_equal(change(IMAGES[..., :1], STREAMS), IMAGES[:, :, ::-1, :1])


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (
            {"name": "HorizontalFlop"},
            "expected the name of a transform of albumentations, found 'HorizontalFlop'",
        ),
        ({"p": 0.5}, "found ''"),
        ({"name": "Compose"}, "found 'Compose'"),
        ({"name": "HorizontalFlip", "strenght": 3}, "albumentations refuses HorizontalFlip with .*strenght"),
        ({"name": "HorizontalFlip", "p": 3}, "albumentations refuses HorizontalFlip"),
    ],
)
def test_mistakes_are_errors(transform: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(transform)


@pytest.mark.parametrize("name", ["Normalize", "ToFloat"])
def test_what_makes_no_bytes_is_refused(name: str) -> None:
    """Cut to bytes, 0.5 would be 0."""
    with pytest.raises(ConfigError, match=f"found that {name} make float32 of shape"):
        build({"name": name})(IMAGES, STREAMS)


def test_importing_albumentations_asks_the_network_for_nothing() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('asked the network')\n"
        "socket.getaddrinfo = socket.create_connection = refuse\n"
        "from emotion.data import augment; from emotion.schema.images import AugmentAlbumentations\n"
        "augment.build(AugmentAlbumentations())\n"
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
