"""A network, registered with timm under its name."""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn


class TinyNet(nn.Module):
    def __init__(self, num_classes: int = 2, in_chans: int = 1, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_features = 16
        self.features = nn.Sequential(
            nn.Conv2d(in_chans, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.fc = nn.Linear(16, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


default_cfgs = generate_default_cfgs({"tinynet": {"input_size": (1, 32, 32), "classifier": "fc"}})


@register_model
def tinynet(pretrained: bool = False, **kwargs: Any) -> TinyNet:
    return build_model_with_cfg(TinyNet, "tinynet", pretrained, **kwargs)
