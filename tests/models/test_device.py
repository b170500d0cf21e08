import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from emotion.models.device import DevicePreprocess, class_probabilities


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)


def test_values_by_hand(images: np.ndarray) -> None:
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    found = DevicePreprocess(3, 48, mean, std)(torch.from_numpy(images))
    expected = (images.transpose(0, 3, 1, 2) / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_grey_becomes_three_channels(images: np.ndarray) -> None:
    found = DevicePreprocess(3, 48, [0.0] * 3, [1.0, 0.5, 0.25])(torch.from_numpy(images[..., :1].copy()))
    torch.testing.assert_close(found[:, 1], 2 * found[:, 0])
    torch.testing.assert_close(found[:, 2], 4 * found[:, 0])


def test_colour_becomes_pillow_s_grey(images: np.ndarray) -> None:
    found = DevicePreprocess(1, 48, [0.0], [1 / 255])(torch.from_numpy(images))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    assert np.abs(found[:, 0].numpy() - expected).max() <= 0.51  # Pillow rounds


@pytest.mark.parametrize("size", [24, 96])
def test_resizing_is_pillow_s_bilinear(images: np.ndarray, size: int) -> None:
    found = DevicePreprocess(3, size, [0.0] * 3, [1 / 255] * 3)(torch.from_numpy(images))
    expected = np.stack(
        [np.asarray(Image.fromarray(i).resize((size, size), Image.Resampling.BILINEAR)) for i in images]
    )
    assert (
        np.abs(found.permute(0, 2, 3, 1).numpy() - expected).max() <= 1.01
    )  # Pillow rounds after each direction


def test_saved_and_made_again() -> None:
    first = DevicePreprocess(1, 64, [0.3], [0.2])
    again = DevicePreprocess.from_dict(first.to_dict())
    x = torch.randint(0, 256, (2, 48, 48, 1), dtype=torch.uint8)
    assert torch.equal(first(x), again(x))
    assert not first.state_dict()


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_probabilities_are_whole_floats_whatever_is_around(images: np.ndarray, tta: str) -> None:
    network = nn.Sequential(
        DevicePreprocess(3, 48, [0.5] * 3, [0.2] * 3), nn.Flatten(), nn.Linear(3 * 48 * 48, 7)
    )
    allowed = []

    def logits(image: Tensor) -> Tensor:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return network(image)

    x = torch.from_numpy(images)
    expected = network(x).softmax(1)
    if tta == "flip":
        expected = (expected + network(torch.from_numpy(images[:, :, ::-1].copy())).softmax(1)) / 2
    with torch.autocast("cpu", torch.bfloat16):
        found = class_probabilities(logits, x, tta)
    assert torch.equal(found, expected)
    assert not any(allowed)
    assert torch.backends.cudnn.allow_tf32
