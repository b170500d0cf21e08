"""Convolutions of timm's networks that take less time done otherwise, with the same weights under the same names."""

from typing import Any, TypeGuard

import torch
from timm.layers import Conv2dSame, pad_same
from timm.models.vgg import ConvMlp
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_TAPS = 3  # of the kernels for whose gradients oneDNN's code for depthwise convolutions is taken, whatever the type
_SMALL_PX = 4  # up to this edge of a map, larger kernels are the slower way in float32 too


class WholeMapConv(nn.Conv2d):
    """A convolution whose kernel usually covers its whole map: then a matrix product, else the convolution it is.

    VGG's dense layers are convolutions in timm. On a CPU oneDNN lays out the 103 million weights of the first anew in
    every step, which takes longer than the product.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.weight.shape[2:]:
            return super().forward(x)
        # in the order of channels_last, in which networks are trained: neither is copied
        x, weight = (found.permute(0, 2, 3, 1).flatten(1) for found in (x, self.weight))
        return F.linear(x, weight, self.bias)[:, :, None, None]


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution, trained on a CPU with the gradients of `_Depthwise`; else, and compiled, torch's.

    (N, C, H, W) float → (N, C, H', W'). It has first derivatives only, where it is `_Depthwise`'s.

    Args:
        like: the convolution whose parameters it shares.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        size, stride, padding = _square(like)
        super().__init__(
            like.in_channels, like.out_channels, size, stride, padding, groups=like.groups, bias=False, device="meta"
        )  # fmt: skip
        self.weight, self.bias = like.weight, like.bias
        self._same = isinstance(like, Conv2dSame)  # TensorFlow's padding, which depends on the map
        self.train(like.training)

    def forward(self, x: Tensor) -> Tensor:
        if self._same:
            x = pad_same(x, list(self.kernel_size), list(self.stride))
        if x.device.type != "cpu" or not self.training or torch.compiler.is_compiling():
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            x, weight = (found.to(torch.get_autocast_dtype("cpu")) for found in (x, weight))
        return _Depthwise.apply(x, weight, self.bias, *_square(self)[1:])


class _Depthwise(torch.autograd.Function):
    """conv2d of one filter a channel, its gradients in shapes that oneDNN runs in its code for depthwise convolutions.

    These it runs in its code for other convolutions, up to 200 times as slow as their neighbours: in bfloat16 the
    input's gradient of a stride above 1 and the weights' gradient of kernels above 3×3. In float32 the latter is slow
    on small maps.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.bias_type = stride, padding, None if bias is None else bias.dtype
        bias = None if bias is None else bias.to(x.dtype)
        return torch.conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, size = ctx.stride, ctx.padding, weight.shape[-1]
        reduced = x.dtype == torch.bfloat16
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            if reduced and stride > 1 and padding < size:
                of_x = _strided_input_gradient(x, weight, gradient, stride, padding)
            else:
                of_x, _ = _gradients(x, weight, gradient, stride, padding, (True, False))
        if ctx.needs_input_grad[1]:
            if size > _TAPS and (reduced or max(gradient.shape[2:]) <= _SMALL_PX):
                of_weight = _large_kernel_gradient(x, weight, gradient, stride, padding)
            else:
                _, of_weight = _gradients(x, weight, gradient, stride, padding, (False, True))
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3), dtype=ctx.bias_type)
        return of_x, of_weight, of_bias, None, None


def _gradients(
    x: Tensor, weight: Tensor, gradient: Tensor, stride: int, padding: int, which: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """torch's own, of input and weights; undefined where not asked for."""
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(weight), [*which, False]
    )  # fmt: skip
    return of_x, of_weight


def _strided_input_gradient(x: Tensor, weight: Tensor, gradient: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient spread out by the stride, convolved with the kernel turned by 180°.

    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning, section 4.
    """
    (count, channels, *edges), size = x.shape, weight.shape[-1]
    height, width = (edge + 2 * padding - size + 1 for edge in edges)
    spread = gradient.new_zeros(count, height, width, channels).permute(0, 3, 1, 2)  # channels_last
    spread[:, :, ::stride, ::stride] = gradient
    return torch.conv2d(spread, weight.flip(2, 3), padding=size - 1 - padding, groups=channels)


def _large_kernel_gradient(x: Tensor, weight: Tensor, gradient: Tensor, stride: int, padding: int) -> Tensor:
    """Block by block of 3×3 taps, each the gradient of a 3×3 kernel on the part of the input that its taps saw."""
    size = weight.shape[-1]
    starts = range(0, size, _TAPS)
    beyond = padding + len(starts) * _TAPS - size  # the last block's taps outside the kernel see zeros
    padded = F.pad(x, (padding, beyond, padding, beyond))
    height, width = (stride * (edge - 1) + _TAPS for edge in gradient.shape[2:])
    block = weight[:, :, :_TAPS, :_TAPS].contiguous()
    found = weight.new_empty(len(weight), 1, len(starts) * _TAPS, len(starts) * _TAPS)
    for top in starts:
        for left in starts:
            seen = padded[:, :, top : top + height, left : left + width]
            seen = seen.contiguous(memory_format=torch.channels_last)
            _, taps = _gradients(seen, block, gradient, stride, 0, (False, True))
            found[:, :, top : top + _TAPS, left : left + _TAPS] = taps
    return found[:, :, :size, :size]


def use_faster_convolutions(backbone: nn.Module) -> None:
    """Replace VGG's dense layers and depthwise convolutions by layers that share the parameters of those replaced."""
    for module in list(backbone.modules()):
        if isinstance(module, ConvMlp):
            module.fc1, module.fc2 = _product(module.fc1), _product(module.fc2)
        for name, child in module._modules.items():  # one that is registered twice, twice
            if _is_plain_depthwise(child):
                setattr(module, name, DepthwiseConv(child))


def _product(layer: nn.Module) -> WholeMapConv:
    assert isinstance(layer, nn.Conv2d)
    height, width = layer.weight.shape[2:]
    found = WholeMapConv(layer.in_channels, layer.out_channels, (height, width), device="meta")
    found.weight, found.bias = layer.weight, layer.bias
    return found.train(layer.training)


def _is_plain_depthwise(layer: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether `layer` has one square filter a channel, the same stride and zeros all around, and nothing else on it."""
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer) in (nn.Conv2d, Conv2dSame)  # what other kinds do is unknown
        and isinstance(layer.weight, nn.Parameter)  # not computed from others, as by weight_norm
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        and layer.groups == layer.in_channels == layer.out_channels > 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and set(layer.dilation) == {1}
        and all(len(set(pair)) == 1 for pair in (layer.kernel_size, layer.stride, layer.padding))
    )


def _square(layer: nn.Conv2d) -> tuple[int, int, int]:
    """Edge of the kernel, stride and padding of what `_is_plain_depthwise`."""
    assert not isinstance(layer.padding, str)
    return layer.kernel_size[0], layer.stride[0], layer.padding[0]
