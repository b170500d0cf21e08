"""`model` and `head`: the network, what it starts from and what of it is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from emotion.network_names import network_names
from emotion.registry import Named
from emotion.schema.errors import nearest, suggest
from emotion.schema.types import ContentPath, NonNegative, Positive, RunPath


class ModelConfig(Named):
    name: str = Field("minivgg", description="a network known to timm or registered with it by this project")
    pretrained: bool = Field(False, description="start from timm's published weights")
    weights: ContentPath = Field(None, description="start from this local file (.pt, .pth, .safetensors)")
    init_from: RunPath = Field(
        None, description="start from the best weights of this finished run (its folder), of the same network"
    )
    freeze: list[str] = Field(
        default_factory=list,
        description="layers that aren't trained, by the start of their name as `emotion model` prints it: "
        "backbone, backbone.layer1 …; their BatchNorm keeps its statistics",
    )
    freeze_epochs: PositiveInt | None = Field(
        None, description="train the frozen layers too after so many epochs; null: never"
    )
    l2: NonNegative = Field(0.0, description="adds this · Σw² over the kernels of l2_layers to the loss")
    l2_layers: list[str] = Field(
        ["backbone", "head"], min_length=1, description="the layers of l2, named as in freeze"
    )
    max_norm: Positive | None = Field(
        None, description="longest weight vector of a unit in max_norm_layers, after each step; null: any"
    )
    max_norm_layers: list[str] = Field(
        ["backbone", "head"], min_length=1, description="the layers of max_norm, named as in freeze"
    )
    input_size: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        None,
        description="edge in pixels of what the network sees; null: the larger of the stored size and the "
        "network's minimum",
    )
    in_channels: Literal[1, 3] | None = Field(None, description="null: as the network was published")
    drop_rate: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="dropout inside the backbone")
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="stochastic depth, where the network has it"
    )
    args: dict[str, Any] = Field(default_factory=dict, description="further arguments of timm.create_model")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known = network_names()
        if name.partition(".")[0] not in known:  # timm's tag of weights stands behind a point
            hint = suggest(nearest(name, known, n=3))
            raise ValueError(f"expected a network that timm or this project knows, found {name!r}{hint}")
        return name


class HeadConfig(Named):
    pool: Literal["network", "flatten"] = Field(
        "network",
        description="network: the features as the network pools them; flatten: all values of its last maps",
    )
    init: Literal["default", "zero", "keras"] = Field(
        "default",
        description="zero: the last layer starts at 0, so fine-tuning starts without a random push; keras: weights "
        "and BatchNorm as Keras has them",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="dropout before the last layer")


class LinearHead(HeadConfig):
    name: Literal["linear"] = "linear"


class MlpHead(HeadConfig):
    name: Literal["mlp"] = "mlp"
    hidden: list[PositiveInt] = Field([256], min_length=1, description="units of each hidden layer")
    activation: Literal["relu", "sigmoid", "gelu", "leaky_relu", "none"] = Field(
        "relu", description="after each hidden layer"
    )
    batch_norm: bool = Field(False, description="BatchNorm after each hidden layer's activation")
    hidden_dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="dropout between the hidden layers; null: as head.dropout"
    )


class CosineHead(HeadConfig):
    name: Literal["cosine"] = "cosine"
    init: Literal["default"] = Field("default", description="a direction can't be zero")
    scale: Positive = Field(
        30.0, description="logits are this times the cosine of features and class directions"
    )
