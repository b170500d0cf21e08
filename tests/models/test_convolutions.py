"""VGG's dense layers as matrix products, depthwise convolutions with gradients of ours: timm's in all but speed."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch.nn import functional as F

from emotion.models import convolutions
from emotion.models import network as door
from emotion.models.convolutions import (
    DepthwiseConv,
    WholeMapConv,
    _large_kernel_gradient,
    _strided_input_gradient,
    use_faster_convolutions,
)
from emotion.schema.model import LinearHead, ModelConfig


@pytest.fixture(scope="module")
def vgg() -> torch.nn.Module:
    """timm's VGG11 with narrow dense layers."""
    torch.manual_seed(0)
    return timm.create_model("vgg11", num_classes=7, mlp_ratio=0.02).eval()


@pytest.mark.parametrize("size_px", [48, 224, 256])  # maps below 7 × 7, of it, and above: there it convolves
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_vgg_s_outputs_and_gradients_are_timm_s(
    vgg: torch.nn.Module, size_px: int, memory: torch.memory_format
) -> None:
    ours = copy.deepcopy(vgg)
    use_faster_convolutions(ours)
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
    use_faster_convolutions(ours)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert isinstance(ours.pre_logits.fc1, WholeMapConv)
    assert all(torch.equal(value, vgg.state_dict()[name]) for name, value in ours.state_dict().items())
    assert not ours.pre_logits.fc1.training


def test_vgg_is_built_with_products() -> None:
    network = door.build(ModelConfig(name="vgg11", args={"mlp_ratio": 0.02}), LinearHead(), 7, 48)
    assert sum(isinstance(module, WholeMapConv) for module in network.modules()) == 2
    assert network(torch.zeros(2, 3, 48, 48)).shape == (2, 7)


# kernel, stride, padding, edge of the map: odd and even, smaller than the kernel, and with a rest beyond the last step
SHAPES = [
    *[
        (3, 1, 1, 5),
        (3, 2, 1, 8),
        (3, 2, 1, 9),
        (3, 2, 0, 7),
        (5, 1, 2, 3),
        (5, 2, 2, 6),
        (5, 2, 2, 7),
        (5, 2, 0, 9),
    ],
    *[(7, 1, 3, 6), (7, 4, 3, 14), (2, 2, 0, 7), (4, 1, 1, 5), (9, 1, 4, 2)],
]


def _reference(
    shape: tuple[int, int, int, int], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Input, weights, the output's gradient, and torch's gradients of the first two in double precision."""
    size, stride, padding, edge = shape
    torch.manual_seed(0)
    x, weight = torch.randn(3, 4, edge, edge + 1), torch.randn(4, 1, size, size)
    x, weight = (found.to(dtype).contiguous(memory_format=torch.channels_last) for found in (x, weight))
    exact = [found.double().requires_grad_() for found in (x, weight)]
    out = F.conv2d(*exact, None, stride, padding, groups=4)
    gradient = torch.randn(out.shape).to(dtype)
    out.backward(gradient.double())
    return x, weight, gradient, [found.grad for found in exact]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_in_other_shapes_are_torch_s(shape: tuple[int, int, int, int]) -> None:
    size, stride, padding, _ = shape
    x, weight, gradient, (of_x, of_weight) = _reference(shape, torch.float64)
    torch.testing.assert_close(_strided_input_gradient(x, weight, gradient, stride, padding), of_x)
    if size >= 3:
        found = _large_kernel_gradient(x, weight, gradient, stride, padding)
        torch.testing.assert_close(found, of_weight)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_depthwise_layer_is_torch_s_up_to_rounding(
    shape: tuple[int, int, int, int], bias: bool, dtype: torch.dtype
) -> None:
    size, stride, padding, _ = shape
    x, weight, gradient, expected = _reference(shape, dtype)
    theirs = torch.nn.Conv2d(4, 4, size, stride, padding, groups=4, bias=bias)
    theirs.weight.data.copy_(weight)
    ours = DepthwiseConv(theirs)
    assert ours.weight is theirs.weight
    x = x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        torch.testing.assert_close(ours(x), theirs(x))
        found = ours(x)
    assert found.dtype == dtype
    found.backward(gradient)
    near = {"atol": 0.1, "rtol": 0.02} if dtype == torch.bfloat16 else {"atol": 1e-4, "rtol": 1e-4}
    for mine, true in zip((x.grad, theirs.weight.grad), expected, strict=True):
        torch.testing.assert_close(mine.double(), true, **near)
    if bias:
        torch.testing.assert_close(theirs.bias.grad, gradient.float().sum((0, 2, 3)), **near)


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "tf_efficientnet_lite0", "mobilenetv2_050", "convnext_atto"]
)
def test_networks_with_them_are_timm_s(name: str) -> None:
    """Outputs, gradients, names, order and identity of the parameters, in float32."""
    torch.manual_seed(0)
    timm_s = timm.create_model(name, num_classes=7, drop_rate=0.0, drop_path_rate=0.0).train()
    ours = copy.deepcopy(timm_s)
    parameters = dict(ours.named_parameters())
    use_faster_convolutions(ours)
    depthwise = [m for m in ours.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert depthwise
    assert all(isinstance(m, DepthwiseConv) for m in depthwise)
    assert list(dict(ours.named_parameters()).items()) == list(parameters.items())
    assert ours.state_dict().keys() == timm_s.state_dict().keys()
    x = torch.rand(4, 3, 64, 64)
    for network in (timm_s, ours):
        F.cross_entropy(network(x), torch.tensor([1, 2, 3, 4])).backward()
    for parameter, like in zip(ours.parameters(), timm_s.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, like.grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ours.eval()(x), timm_s.eval()(x))


def test_other_grouped_convolutions_stay() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, groups=4),
        torch.nn.Conv2d(4, 4, 3, groups=2),
        torch.nn.Conv2d(4, 4, 3, groups=4, dilation=2),
        torch.nn.Conv2d(4, 4, 3, groups=4, padding="same"),
        torch.nn.Conv2d(4, 4, (3, 5), groups=4),
        torch.nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="reflect"),
        torch.nn.Conv2d(1, 1, 3),
    )
    use_faster_convolutions(layers)
    assert {type(layer) for layer in layers} == {torch.nn.Conv2d}


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ways that gradients are taken, by name, of all since."""
    found: list[str] = []

    def watch(name: str, way: Callable[..., Any]) -> None:
        monkeypatch.setattr(convolutions, name, lambda *given: found.append(name) or way(*given))

    for name in ("_strided_input_gradient", "_large_kernel_gradient", "_gradients"):
        watch(name, getattr(convolutions, name))
    return found


@pytest.mark.parametrize(
    ("size", "stride", "edge", "dtype", "of_x", "of_weight"),
    [
        (3, 1, 16, torch.bfloat16, "_gradients", "_gradients"),
        (3, 2, 16, torch.bfloat16, "_strided_input_gradient", "_gradients"),
        (5, 1, 16, torch.bfloat16, "_gradients", "_large_kernel_gradient"),
        (5, 2, 16, torch.bfloat16, "_strided_input_gradient", "_large_kernel_gradient"),
        (3, 2, 16, torch.float32, "_gradients", "_gradients"),
        (5, 1, 16, torch.float32, "_gradients", "_gradients"),
        (5, 1, 3, torch.float32, "_gradients", "_large_kernel_gradient"),
    ],
)
def test_gradients_are_taken_the_faster_way_and_only_those_that_are_needed(
    used: list[str], size: int, stride: int, edge: int, dtype: torch.dtype, of_x: str, of_weight: str
) -> None:
    layer = DepthwiseConv(torch.nn.Conv2d(4, 4, size, stride, size // 2, groups=4, dtype=dtype))
    x = torch.rand(2, 4, edge, edge, dtype=dtype, requires_grad=True)
    layer.weight.requires_grad_(False)
    layer(x).sum().backward()
    assert used == [of_x]
    used.clear()
    layer.weight.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert used[0] == of_weight
    assert set(used) <= {of_weight, "_gradients"}


@pytest.mark.parametrize("padding", [3, 4])  # the spread gradient can't be padded by less than nothing
def test_more_padding_than_kernel(padding: int) -> None:
    theirs = torch.nn.Conv2d(4, 4, 3, 2, padding, groups=4, bias=False)
    x = torch.randn(2, 4, 9, 9).bfloat16()
    found = []
    for layer in (theirs, DepthwiseConv(theirs)):
        of = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(of)
        out.sum().backward()
        found.append(of.grad)
    torch.testing.assert_close(*found)


def test_evaluation_and_compilers_get_torch_s_own(used: list[str]) -> None:
    layer = DepthwiseConv(torch.nn.Conv2d(4, 4, 5, 2, 2, groups=4, dtype=torch.bfloat16))
    x = torch.rand(2, 4, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    layer.eval()(x).sum().backward()
    torch.compiler.reset()
    torch.compile(layer.train(), backend="eager", fullgraph=True)(x).sum().backward()
    assert not used
    layer(x).sum().backward()
    assert used


def test_a_layer_that_is_registered_twice_is_replaced_twice() -> None:
    layer = torch.nn.Conv2d(4, 4, 3, groups=4)
    layers = torch.nn.Sequential(layer, layer)
    use_faster_convolutions(layers)
    assert all(isinstance(one, DepthwiseConv) and one.weight is layer.weight for one in layers)


def test_what_hangs_on_a_layer_keeps_it() -> None:
    with pytest.warns(FutureWarning, match="deprecated"):
        computed = torch.nn.utils.weight_norm(torch.nn.Conv2d(4, 4, 3, groups=4))
    watched, changed = torch.nn.Conv2d(4, 4, 3, groups=4), torch.nn.Conv2d(4, 4, 3, groups=4)
    watched.register_forward_hook(lambda *_: None)
    changed.register_forward_pre_hook(lambda *_: None)
    layers = torch.nn.Sequential(computed, watched, changed)
    use_faster_convolutions(layers)
    assert {type(layer) for layer in layers} == {torch.nn.Conv2d}


def test_networks_are_built_with_depthwise_layers() -> None:
    network = door.build(ModelConfig(name="mobilenetv2_050"), LinearHead(), 7, 32)
    assert sum(isinstance(module, DepthwiseConv) for module in network.modules()) == 17
