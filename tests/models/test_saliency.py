"""Saliency maps: against a hand count, against the package grad-cam, and on faces whose parts are known."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from emotion.data.drawn import DrawnFaces
from emotion.errors import ConfigError
from emotion.models import network as door
from emotion.models.saliency import default_layer, grad_cam, layers, occlusion, saliency
from emotion.schema import LinearHead, ModelConfig

CONF = Path(__file__).parents[2] / "conf" / "model"
HAPPINESS, ANGER = 1, 6


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
        torch.testing.assert_close(grad_cam(network, x, targets, layer), expected, atol=1e-5, rtol=1e-4)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@pytest.mark.filterwarnings("ignore")  # whatever the package and its dependencies warn of
@pytest.mark.parametrize("plus_plus", [False, True])
def test_as_the_package_grad_cam(tiny: tuple[Tiny, Tensor, Tensor], plus_plus: bool) -> None:
    package = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, x, targets = tiny
    with torch.no_grad():
        network.out.weight *= 1000  # the package adds 1e-6 to a denominator of squared gradients
    kind = package.GradCAMPlusPlus if plus_plus else package.GradCAM
    with kind(network, [network.act]) as cam:
        theirs = cam(x, [ClassifierOutputTarget(int(t)) for t in targets])
    ours = grad_cam(network, x, targets, "act", plus_plus).numpy()
    lowest = ours.min((1, 2), keepdims=True)  # theirs are stretched to [0, 1] at both ends
    np.testing.assert_allclose((ours - lowest) / (1 - lowest), theirs, atol=1e-3)


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


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_every_network_of_the_project(name: str) -> None:
    import yaml

    config = ModelConfig(**yaml.safe_load((CONF / f"{name}.yaml").read_text())).model_copy(
        update={"pretrained": False}
    )
    size_px = door.input_size(config, 48)
    torch.manual_seed(0)
    network = door.build(config, LinearHead(), 7, size_px, load_weights=False).eval()
    x = torch.randn(1, door.input_channels(config), size_px, size_px)
    known = layers(network, x)
    assert [layer.edge for layer in known] == sorted({layer.edge for layer in known}, reverse=True)
    for method in ("grad_cam", "grad_cam_plus_plus"):
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
        grad_cam(network, x, torch.tensor([0, 1]), "no_such")


@pytest.mark.slow
def test_maps_fall_on_the_parts_that_change() -> None:
    """Mouth for happiness, brows and eyes for anger; not so with random weights (Adebayo et al. 2018)."""
    faces = DrawnFaces(count=900, imbalance=0, label_noise=0, difficulty=0)
    images = torch.from_numpy(np.stack([faces.read(k) for k in range(faces.count)]))
    x = (images.permute(0, 3, 1, 2).float().mean(1, keepdim=True) - 128) / 64
    labels = torch.from_numpy(faces.true_labels())
    torch.manual_seed(0)
    trained = timm.create_model("minivgg", num_classes=7, hidden=(64,), blocks=((16,), (32,), (64, 64)))
    random = timm.create_model("minivgg", num_classes=7, hidden=(64,), blocks=((16,), (32,), (64, 64)))
    optimizer = torch.optim.Adam(trained.parameters(), 2e-3)
    for _ in range(8):
        for rows in torch.randperm(700).split(32):
            loss = nn.functional.cross_entropy(trained(x[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    held_out = torch.arange(700, 900)
    with torch.no_grad():
        right = held_out[trained.eval()(x[held_out]).argmax(1) == labels[held_out]]
    assert len(right) > 140

    def times_the_area(network: nn.Module, expression: int, parts: tuple[str, ...], method: str) -> float:
        """Share of the saliency within the parts, over their share of the image: 1 says nothing."""
        rows = right[labels[right] == expression][:16]
        maps = saliency(network, x[rows], labels[rows], method).numpy()  # type: ignore[arg-type]
        found = []
        for row, one in zip(rows.tolist(), maps, strict=True):
            masks = faces.masks(row)
            mask = np.logical_or.reduce([masks[part] for part in parts])
            if one.sum():
                found.append(one[mask].sum() / one.sum() / mask.mean())
        return float(np.mean(found))

    seen = {
        (kind, method): (
            times_the_area(network, HAPPINESS, ("mouth",), method),
            times_the_area(network, ANGER, ("brows",), method),
        )
        for kind, network in (("trained", trained), ("random", random))
        for method in ("grad_cam", "grad_cam_plus_plus", "occlusion")
    }
    print(seen)
    for method in ("grad_cam", "grad_cam_plus_plus", "occlusion"):
        for learnt, untrained in zip(seen["trained", method], seen["random", method], strict=True):
            assert learnt > 1.5
            assert learnt > 1.4 * untrained


def test_default_layer_is_deep_but_not_too_coarse() -> None:
    network = timm.create_model("efficientnet_b0").eval()
    with torch.device("cpu"):
        assert default_layer(network, torch.zeros(1, 3, 112, 112)).edge == 7
