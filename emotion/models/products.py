"""Layers of timm's networks that are faster as matrix products, with the same weights under the same names."""

from timm.models.vgg import ConvMlp
from torch import Tensor, nn
from torch.nn import functional as F


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


def use_products(backbone: nn.Module) -> None:
    """Replace VGG's dense layers, which share their parameters with those that they replace."""
    for module in backbone.modules():
        if isinstance(module, ConvMlp):
            module.fc1, module.fc2 = _product(module.fc1), _product(module.fc2)


def _product(layer: nn.Module) -> WholeMapConv:
    assert isinstance(layer, nn.Conv2d)
    height, width = layer.weight.shape[2:]
    found = WholeMapConv(layer.in_channels, layer.out_channels, (height, width), device="meta")
    found.weight, found.bias = layer.weight, layer.bias
    return found.train(layer.training)
