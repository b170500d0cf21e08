from math import comb
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from emotion.errors import ConfigError
from emotion.models import network as door
from emotion.models.layers import Dropout, clip_norms, kernels, l2_penalty, parameters_below
from emotion.schema.model import LinearHead, MlpHead, ModelConfig


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


def _maps(memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    return (1 + torch.rand(32, 16, 24, 24)).to(memory_format=memory_format)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.73])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = _maps()
    found = Dropout(rate)(x)
    share = (found == 0).double().mean().item()
    assert abs(share - rate) < 5 * (rate * (1 - rate) / x.numel()) ** 0.5
    torch.testing.assert_close(found[found != 0], x[found != 0] / (1 - rate), rtol=1e-4, atol=0)


def test_dropout_draws_each_element_by_itself() -> None:
    """Neighbours in memory share a word of the generator: they are dropped together as often as by chance."""
    torch.manual_seed(0)
    dropped = (Dropout(0.4)(torch.ones(1_000_000)) == 0).double().numpy()
    for apart in (1, 2, 3, 4, 8):
        assert abs(np.corrcoef(dropped[:-apart], dropped[apart:])[0, 1]) < 5e-3, apart
    counts = dropped.reshape(-1, 4).sum(axis=1)  # the elements of one word
    expected = [comb(4, k) * 0.4**k * 0.6 ** (4 - k) for k in range(5)]
    np.testing.assert_allclose(np.bincount(counts.astype(int)) / len(counts), expected, atol=5e-3)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dropout_keeps_the_order_in_memory_and_gives_the_gradient_of_what_it_kept(
    memory_format: torch.memory_format,
) -> None:
    x = _maps(memory_format).requires_grad_()
    found = Dropout(0.25)(x)
    assert found.is_contiguous(memory_format=memory_format)
    found.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (found / x).detach())


def test_dropout_of_a_strided_part_leaves_the_rest_alone() -> None:
    whole = torch.ones(8, 8)
    found = Dropout(0.5)(whole[:, ::2])
    assert found.shape == (8, 4)
    assert (whole == 1).all()
    assert set(found.unique().tolist()) <= {0.0, 2.0}


def test_dropout_repeats_with_the_generator_and_is_off_in_evaluation() -> None:
    x, layer = _maps(), Dropout(0.5)
    torch.manual_seed(7)
    first = layer(x)
    torch.manual_seed(7)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert layer.eval()(x) is x


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_dropout_of_nothing_and_of_everything(rate: float, expected: float) -> None:
    assert (Dropout(rate)(torch.ones(9)) == expected).all()


@pytest.mark.parametrize("name", ["minivgg_tuned", "plain_cnn", "shallow_cnn"])
def test_the_studies_convolutions_use_it(name: str) -> None:
    args = {"conv_dropout": 0.2} if name == "plain_cnn" else {}
    rates = [m for m in timm.create_model(name, **args).features.modules() if isinstance(m, nn.Dropout)]
    assert rates
    assert all(type(m) is Dropout for m in rates)


def test_compiled_dropout_is_one_graph_of_torch_s_own() -> None:
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(nn.Sequential(Dropout(0.5), nn.ReLU()), backend=backend, fullgraph=True)
    assert (compiled(torch.ones(1000)) == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert len(graphs) == 1
