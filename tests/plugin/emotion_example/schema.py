"""What the configuration may say. Imports no torch: it is read before a configuration has been found good."""

from typing import Literal

from pydantic import Field

from emotion.registry import Named, register
from emotion.schema.data import DataConfig
from emotion.schema.learning import LossConfig
from emotion.schema.model import ModelConfig


class StripesData(DataConfig):
    name: Literal["stripes"] = "stripes"
    count: int = Field(120, ge=20, description="number of images")


class TinyNet(ModelConfig):
    name: str = Field("tinynet", description="two convolutions")


class PolyLoss(LossConfig):
    name: Literal["poly"] = "poly"
    epsilon: float = Field(1.0, description="weight of the first polynomial term")


class MirroredAugment(Named):
    name: Literal["mirrored"] = "mirrored"
    p: float = Field(0.5, ge=0, le=1, description="probability")


def register_all() -> None:
    register("data", "stripes", StripesData, "emotion_example.stripes")
    register("model", "tinynet", TinyNet, "emotion_example.networks")
    register("loss", "poly", PolyLoss, "emotion_example.losses:PolyLoss")
    register("augment", "mirrored", MirroredAugment, "emotion_example.policies:Mirrored")
