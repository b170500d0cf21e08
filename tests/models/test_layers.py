import numpy as np
import pytest
import torch
from torch import nn

from emotion.errors import ConfigError
from emotion.models import network as door
from emotion.models.layers import clip_norms, kernels, l2_penalty, parameters_below
from emotion.schema import LinearHead, MlpHead, ModelConfig


def resnet(**keys: object) -> door.Network:
    return door.build(ModelConfig(name="test_resnet", **keys), LinearHead(), 7, 32)


def test_kernels_are_weights_of_convolutions_and_linear_layers() -> None:
    network = door.build(ModelConfig(name="minivgg_tuned"), MlpHead(hidden=[4]), 7, 48)
    shapes = [tuple(p.shape) for p in kernels(network, ["backbone.dense", "head"], "x")]
    assert shapes == [(512, 4608), (512, 512), (4, 512), (7, 4)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "layer1",
            r"model.freeze: .* found 'layer1'. Did you mean backbone.layer1\? There are backbone, head;",
        ),
        ("backbone.layr1", r"Did you mean backbone.layer1\? backbone has .*backbone.conv1.*backbone.layer4"),
        ("backbone.layer1.7", r"backbone.layer1 has backbone.layer1.0"),
        ("backbone.layer", "found 'backbone.layer'"),  # a start of a name, but not of whole parts
    ],
)
def test_an_unknown_layer_names_the_known(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        resnet(freeze=[name])


def test_l2_is_keras_formula() -> None:
    """keras.regularizers.L2: l2 * reduce_sum(square(x)), summed over the layers."""
    weights = [torch.randn(3, 4), torch.randn(2, 3, 3, 3)]
    expected = 0.01 * sum((w.double().numpy() ** 2).sum() for w in weights)
    assert float(l2_penalty(weights, 0.01)) == pytest.approx(expected, rel=1e-6)


def keras_max_norm(w: np.ndarray, limit: float) -> np.ndarray:
    """keras.constraints.MaxNorm with axis=0, on a kernel as Keras stores it."""
    norms = np.sqrt((w**2).sum(0, keepdims=True))
    return w * np.clip(norms, 0, limit) / (1e-7 + norms)


def test_max_norm_is_keras_with_axis_0() -> None:
    torch.manual_seed(0)
    dense, conv = 2 * torch.randn(5, 40), 3 * torch.randn(4, 3, 5, 5)
    expected_dense = keras_max_norm(dense.double().numpy().T, 4).T
    kernel = conv.double().numpy().transpose(2, 3, 1, 0)  # Keras: row, column, in, out
    expected_conv = keras_max_norm(kernel, 4).transpose(3, 2, 0, 1)
    before = conv.clone()
    clip_norms([dense, conv], 4)
    np.testing.assert_allclose(dense.numpy(), expected_dense, rtol=1e-5)
    np.testing.assert_allclose(conv.numpy(), expected_conv, rtol=1e-5)
    assert not torch.equal(conv, before)  # some triples were longer
    by_filter = before * (4 / before.flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1)
    assert not torch.allclose(conv, by_filter)  # the sabotage: Srivastava's bound of whole filters


def test_max_norm_leaves_short_vectors_to_the_bit() -> None:
    w = torch.rand(8, 3, 3, 3)
    before = w.clone()
    clip_norms([w], 4)
    assert torch.equal(w, before)


def trained_a_step(network: door.Network) -> dict[str, torch.Tensor]:
    """What it was before: a step over parameters that have a gradient."""
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    nn.functional.cross_entropy(network(torch.rand(4, 3, 32, 32)), torch.arange(4)).backward()
    optimizer.step()
    return before


def changed(network: door.Network, before: dict[str, torch.Tensor]) -> set[str]:
    return {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}


def test_frozen_layers_stay_with_their_statistics() -> None:
    torch.manual_seed(0)
    network = resnet(freeze=["backbone.conv1", "backbone.bn1", "backbone.layer1"])
    moved = changed(network, trained_a_step(network))
    assert not [k for k in moved if k.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1."))]
    assert "backbone.layer2.0.bn1.running_mean" in moved
    assert "head.1.weight" in moved
    assert not network.backbone.bn1.training
    assert network.backbone.layer2[0].bn1.training


def test_without_the_evaluation_mode_statistics_would_move() -> None:
    """The sabotage: requires_grad alone doesn't keep BatchNorm."""
    network = resnet()
    network.backbone.requires_grad_(False)
    assert "backbone.bn1.running_mean" in changed(network, trained_a_step(network))


def test_unfreezing_gives_back_what_was_taken() -> None:
    network = resnet(freeze=["backbone"]).train()
    network.unfreeze()
    assert all(p.requires_grad for p in network.parameters())
    assert network.backbone.bn1.training
    assert network.frozen == []


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected something left to train"):
        resnet(freeze=["backbone", "head"])


def test_a_start_is_a_whole_part_of_the_name() -> None:
    network = door.build(
        ModelConfig(), LinearHead(), 7, 48
    )  # features.1 has no weights, features.10 and on have
    with pytest.raises(ConfigError, match=r"backbone.features has backbone.features.0, backbone.features.2"):
        parameters_below(network, ["backbone.features.1"], "model.freeze")
