"""Saliency maps: against a hand count, against the package grad-cam, and on faces whose parts are known."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from emotion.data.drawn import DrawnFaces
from emotion.data.portrait import ActionUnits, draw, part_masks
from emotion.errors import ConfigError
from emotion.launch import choices, compose
from emotion.models import network as door
from emotion.models.saliency import (
    CamMethod,
    Method,
    class_activation,
    default_layer,
    layers,
    occlusion,
    saliency,
)
from emotion.reporting import figures
from emotion.schema.model import LinearHead


class Tiny(nn.Module):
    """One convolution, the mean of each channel, one linear layer: Grad-CAM can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.act(self.conv(x)).mean((2, 3)))


@pytest.fixture
def tiny() -> tuple[Tiny, Tensor, Tensor]:
    torch.manual_seed(0)
    return Tiny().eval(), torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 2])


def test_grad_cam_by_hand(tiny: tuple[Tiny, Tensor, Tensor]) -> None:
    """Behind a global mean, Grad-CAM is the sum of the channels weighted by the linear layer (Zhou et al. 2016)."""
    network, x, targets = tiny
    with torch.no_grad():
        maps = network.act(network.conv(x))
        expected = (network.out.weight[targets][:, :, None, None] * maps).sum(1).relu()
    expected = expected / expected.amax((1, 2), keepdim=True).clamp(min=1e-12)
    # the hook sees the convolution's output after the in-place activation, and so does the gradient
    for layer in ("conv", "act"):
        found = class_activation(network, x, targets, layer, "grad_cam")
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        with (
            torch.no_grad()
        ):  # LayerCAM sums what speaks for the class, and leaves out what speaks against it
            speaking = (network.out.weight[targets][:, :, None, None].relu() * maps).sum(1)
        speaking = speaking / speaking.amax((1, 2), keepdim=True).clamp(min=1e-12)
        found = class_activation(network, x, targets, layer, "layer_cam")
        torch.testing.assert_close(found, speaking, atol=1e-5, rtol=1e-4)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@pytest.mark.filterwarnings("ignore")  # whatever the package and its dependencies warn of
@pytest.mark.parametrize(
    ("method", "theirs"),
    [("grad_cam", "GradCAM"), ("grad_cam_plus_plus", "GradCAMPlusPlus"), ("layer_cam", "LayerCAM")],
)
def test_as_the_package_grad_cam(tiny: tuple[Tiny, Tensor, Tensor], method: CamMethod, theirs: str) -> None:
    package = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, x, targets = tiny
    with torch.no_grad():
        network.out.weight *= 1000  # the package adds 1e-6 to a denominator of squared gradients
    with getattr(package, theirs)(network, [network.act]) as cam:
        expected = cam(x, [ClassifierOutputTarget(int(t)) for t in targets])
    ours = class_activation(network, x, targets, "act", method).numpy()
    lowest = ours.min((1, 2), keepdims=True)  # theirs are stretched to [0, 1] at both ends
    np.testing.assert_allclose((ours - lowest) / (1 - lowest), expected, atol=1e-3)


def test_occlusion_finds_what_counts() -> None:
    """A network that looks at one corner only."""

    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bright = x[:, 0, 8:12, 20:24].mean((1, 2)) * 8
            return torch.stack([bright, -bright], 1)

    x = torch.zeros(1, 1, 32, 32)
    x[:, :, 8:12, 20:24] = 1
    found = occlusion(Corner(), x, torch.tensor([0]))[0].numpy()
    assert found.max() == 1
    assert found[8:12, 20:24].mean() > 0.9
    assert found[20:, :12].max() == 0


@pytest.mark.parametrize("name", choices("model"))
def test_every_network_of_the_project(name: str) -> None:
    config = compose([f"model={name}"]).model
    size_px = door.input_size(config, 48)
    torch.manual_seed(0)
    network = door.build(config, LinearHead(), 7, size_px, load_weights=False).eval()
    x = torch.randn(1, door.input_channels(config), size_px, size_px)
    known = layers(network, x)
    assert [layer.edge for layer in known] == sorted({layer.edge for layer in known}, reverse=True)
    for method in ("layer_cam", "grad_cam", "grad_cam_plus_plus"):
        found = saliency(network, x, torch.tensor([0]), method)
        assert found.shape == (1, size_px, size_px)
        assert torch.isfinite(found).all()
        assert found.max() <= 1


def test_a_network_without_maps() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x = torch.randn(2, 1, 8, 8)
    with pytest.raises(ConfigError, match="occlusion works"):
        saliency(network, x, torch.tensor([0, 1]))
    assert saliency(network, x, torch.tensor([0, 1]), "occlusion").shape == (2, 8, 8)
    with pytest.raises(ConfigError, match="no_such"):
        class_activation(network, x, torch.tensor([0, 1]), "no_such")


CHANGED = {"mouth": 1, "brows": 2}  # the class that the part decides
MOVED = (ActionUnits(), ActionUnits(corner_pull=1.0, lips_part=0.8), ActionUnits(brow_lower=1.0))


@pytest.fixture(scope="module")
def faces() -> tuple[Tensor, Tensor, list[dict[str, np.ndarray]]]:
    """Faces that differ in one part alone, so that nothing else can tell what they show: images, labels, masks.

    Neutral, a mouth that smiles, brows that are lowered.
    """
    drawn = DrawnFaces(count=480, difficulty=0)
    images, labels, masks = [], [], []
    for index in range(drawn.count):
        scene = drawn.scene(index)
        units = MOVED[index % 3]
        images.append(draw(scene.person, units, scene.view, 48))
        labels.append(index % 3)
        masks.append(part_masks(scene.person, units, scene.view, 48))
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().mean(1, keepdim=True)
    return (x - 128) / 64, torch.tensor(labels), masks


def flattening() -> nn.Module:
    made: nn.Module = timm.create_model(
        "minivgg", num_classes=3, hidden=(64,), blocks=((16,), (32,), (64, 64))
    )
    return made


def pooling() -> nn.Module:
    made: nn.Module = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    return made


Trained = dict[Callable[[], nn.Module], nn.Module]


@pytest.fixture(scope="module")
def trained(faces: tuple[Tensor, Tensor, list[dict[str, np.ndarray]]]) -> Trained:
    x, labels, _ = faces
    found: Trained = {}
    for make, epochs in ((flattening, 12), (pooling, 20)):
        torch.manual_seed(0)
        network = make()
        optimizer = torch.optim.Adam(network.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * 12)
        for _ in range(epochs):
            for rows in torch.randperm(384).split(32):
                loss = nn.functional.cross_entropy(network(x[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            assert (network.eval()(x[384:]).argmax(1) == labels[384:]).float().mean() > 0.9
        found[make] = network
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "method", "parts"),
    [
        (flattening, "layer_cam", ("mouth", "brows")),
        (flattening, "occlusion", ("mouth", "brows")),
        (flattening, "grad_cam", ("mouth",)),
        (flattening, "grad_cam_plus_plus", ("mouth",)),
        (pooling, "layer_cam", ("mouth", "brows")),
        (pooling, "occlusion", ("mouth", "brows")),
        (pooling, "grad_cam", ("mouth", "brows")),
        (pooling, "grad_cam_plus_plus", ("mouth",)),
    ],
)
def test_maps_fall_on_the_part_that_changes(
    make: Callable[[], nn.Module],
    method: Method,
    parts: tuple[str, ...],
    trained: Trained,
    faces: tuple[Tensor, Tensor, list[dict[str, np.ndarray]]],
) -> None:
    """Mouth for happiness, brows for anger; not so with random weights (Adebayo et al. 2018).

    Where a network flattens its maps, Grad-CAM's one weight a channel loses the brows, which are thin (1.7 times
    their area); Grad-CAM++, which spreads the weight evenly, does in both (1.8 and 1.4).
    """
    x, labels, masks = faces

    def times_the_area(network: nn.Module, part: str) -> float:
        """Share of the saliency within the part, over the part's share of the image: 1 says nothing."""
        label = CHANGED[part]
        rows = [row for row in range(384, 480) if labels[row] == label][:16]
        maps = saliency(network, x[rows], labels[rows], method).numpy()
        shares = [
            one[masks[row][part]].sum() / one.sum() / masks[row][part].mean()
            for row, one in zip(rows, maps, strict=True)
            if one.sum()
        ]
        return float(np.mean(shares)) if shares else 1.0

    random = []
    for seed in range(6):
        torch.manual_seed(100 + seed)
        random.append(make())
    for part in parts:
        found = times_the_area(trained[make], part)
        chance = float(np.mean([times_the_area(network, part) for network in random]))
        print(f"{make.__name__} {method} {part}: trained {found:.2f}, random {chance:.2f} times its area")
        assert found > 2
        assert found > 1.5 * chance


@pytest.mark.parametrize(
    ("name", "edge", "whole"),
    [("resnet50", 12, "layer2"), ("densenet121", 12, "features.denseblock2"), ("vgg11", 12, "features.14")],
)
def test_layers_are_not_branches_of_a_block(name: str, edge: int, whole: str) -> None:
    """`layer3.0.act1` has maps of this resolution too, but the block's short cut goes past it."""
    network = timm.create_model(name).eval()
    found = {layer.edge: layer.name for layer in layers(network, torch.zeros(1, 3, 96, 96))}
    assert found[edge] == whole


@pytest.mark.slow
def test_a_gallery_of_64_images_takes_two_cores_ten_seconds_at_most(tmp_path: Path) -> None:
    """EfficientNet-B0 at 112 px. In processor time, which doesn't depend on what else the machine does."""
    network = timm.create_model("efficientnet_b0", num_classes=7).eval()
    x = torch.randn(64, 3, 112, 112)
    images = np.random.default_rng(0).integers(0, 256, (64, 112, 112, 3), np.uint8)
    started = time.process_time()
    maps = saliency(network, x, torch.arange(64) % 7).numpy()
    pictures = [figures.overlay(image, one) for image, one in zip(images, maps, strict=True)]
    figures.sheet([pictures[row : row + 8] for row in range(0, 64, 8)], tmp_path / "gallery.png")
    assert time.process_time() - started < 20


def test_default_layer_is_deep_but_not_too_coarse() -> None:
    network = timm.create_model("efficientnet_b0").eval()
    with torch.device("cpu"):
        assert default_layer(network, torch.zeros(1, 3, 112, 112)).edge == 7
