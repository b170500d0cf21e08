"""VGG's dense layers as matrix products: timm's network in all but speed."""

import copy

import pytest
import timm
import torch
from torch.nn import functional as F

from emotion.models import network as door
from emotion.models.products import WholeMapConv, use_products
from emotion.schema import LinearHead, ModelConfig


@pytest.fixture(scope="module")
def vgg() -> torch.nn.Module:
    """timm's VGG11 with narrow dense layers."""
    torch.manual_seed(0)
    return timm.create_model("vgg11", num_classes=7, mlp_ratio=0.02).eval()


@pytest.mark.parametrize("size_px", [48, 224, 256])  # maps below 7 × 7, of it, and above: there it convolves
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_timm_s(
    vgg: torch.nn.Module, size_px: int, memory: torch.memory_format
) -> None:
    ours = copy.deepcopy(vgg)
    use_products(ours)
    ours.to(memory_format=memory)
    vgg.zero_grad()
    x = torch.rand(2, 3, size_px, size_px)
    for network in (vgg, ours):
        F.cross_entropy(network(x.contiguous(memory_format=memory)), torch.tensor([1, 2])).backward()
    torch.testing.assert_close(ours(x), vgg(x))
    theirs = dict(vgg.named_parameters())
    assert theirs.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-5, rtol=1e-4)


def test_weights_and_random_numbers_stay(vgg: torch.nn.Module) -> None:
    ours = copy.deepcopy(vgg)
    torch.manual_seed(5)
    use_products(ours)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert isinstance(ours.pre_logits.fc1, WholeMapConv)
    assert all(torch.equal(value, vgg.state_dict()[name]) for name, value in ours.state_dict().items())
    assert not ours.pre_logits.fc1.training


def test_networks_are_built_with_them() -> None:
    network = door.build(ModelConfig(name="vgg11", args={"mlp_ratio": 0.02}), LinearHead(), 7, 48)
    assert sum(isinstance(module, WholeMapConv) for module in network.modules()) == 2
    assert network(torch.zeros(2, 3, 48, 48)).shape == (2, 7)
