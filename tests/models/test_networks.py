import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from emotion.errors import ConfigError, RunError
from emotion.models import network as door
from emotion.models.heads import cosine, linear, mlp
from emotion.schema.model import CosineHead, LinearHead, MlpHead, ModelConfig


def weights(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build(name: str = "minivgg", size_px: int = 48, classes: int = 7, **keys: object) -> door.Network:
    return door.build(ModelConfig(name=name, **keys), LinearHead(), classes, size_px)


def test_minivgg_has_the_published_number_of_weights() -> None:
    network = build()
    assert weights(network) == 3_060_071  # study B's report, checked by its file size
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_minivgg_by_timm_alone_is_the_same_network() -> None:
    assert weights(timm.create_model("minivgg", num_classes=7)) == 3_060_071


@pytest.mark.parametrize(
    ("name", "backbone"), [("mobilenetv2_100", 2_223_872), ("efficientnet_b0", 4_007_548)]
)
def test_backbones_of_study_a(name: str, backbone: int) -> None:
    assert weights(build(name).backbone) == backbone  # checked counts of the report


@pytest.mark.parametrize(
    ("name", "store", "seen"), [("minivgg", 48, 48), ("resnet18", 48, 48), ("inception_v3", 48, 75)]
)
def test_input_is_the_store_s_size_or_the_network_s_minimum(name: str, store: int, seen: int) -> None:
    config = ModelConfig(name=name)
    assert door.input_size(config, store) == seen
    assert build(name, seen)(torch.zeros(2, door.input_channels(config), seen, seen)).shape == (2, 7)


def test_an_input_that_is_too_small_is_said() -> None:
    with pytest.raises(ConfigError, match=r"takes 16×16 images, found that inception_v3"):
        build("inception_v3", 16)


@pytest.mark.parametrize(
    "args",
    [
        {"no_such_argument": 1},
        {"act_layer": "gelu2"},
        {"block": "foo"},
        {"layers": [1]},
        {"features_only": True},
    ],
    ids=str,
)
def test_arguments_that_the_network_refuses_are_said(args: dict[str, Any]) -> None:
    """Whatever it raises: TypeError, KeyError, AttributeError, ZeroDivisionError, or lists for features."""
    with pytest.raises(ConfigError, match=f"resnet18 with .*{next(iter(args))}.* fails"):
        build("resnet18", args=args)


def test_a_file_of_weights_that_is_not_there_is_said() -> None:
    with pytest.raises(RunError, match="/nonexistent.pt.* a file of weights can't be read"):
        build("resnet18", args={"checkpoint_path": "/nonexistent.pt"})


def test_zero_head_starts_undecided() -> None:
    network = door.build(ModelConfig(), LinearHead(init="zero"), 7, 48)
    assert network(torch.rand(3, 1, 48, 48)).abs().max() == 0


def test_keras_heads_begin_with_glorot_s_weights() -> None:
    torch.manual_seed(0)
    short = linear(LinearHead(init="keras"), 256, 7)
    long = mlp(MlpHead(hidden=[512, 128], init="keras"), 256, 7)
    layers = [layer for layer in (*short, *long) if isinstance(layer, nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        limit = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert 0.99 * limit < layer.weight.abs().max() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("init", "eps", "momentum"), [("default", 1e-5, 0.1), ("zero", 1e-5, 0.1), ("keras", 1e-3, 0.01)]
)
def test_batch_norm_of_a_head(init: str, eps: float, momentum: float) -> None:
    head = mlp(MlpHead(hidden=[5, 4], batch_norm=True, init=init), 6, 3)
    norms = [layer for layer in head if isinstance(layer, nn.BatchNorm1d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(eps, momentum)] * 2


def test_cosine_head_by_hand() -> None:
    head = cosine(CosineHead(scale=16), 5, 3)
    features = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    (weight,) = head.parameters()
    expected = 16 * torch.stack([F.cosine_similarity(features, row[None]) for row in weight], dim=1)
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head(3 * features), expected)


def test_mlp_head_counts() -> None:
    head = MlpHead(hidden=[64, 32], activation="sigmoid", dropout=0.5)
    network = door.build(ModelConfig(name="efficientnet_b0"), head, 7, 48)
    assert weights(network.head) == 81_984 + 2_080 + 231  # study A's optimized head


def test_rebuild_gives_the_same_function() -> None:
    network = build("mobilenetv2_100").eval()
    again = door.rebuild(network.description).eval()
    again.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, 48, 48)
    assert torch.equal(network(x), again(x))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_local_weights_are_loaded(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(1)
    state = timm.create_model("resnet18", num_classes=1000).state_dict()
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    network = build("resnet18", weights=path)
    assert torch.equal(network.backbone.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])


def test_local_weights_for_grey_input_are_summed(tmp_path: Path) -> None:
    state = timm.create_model("resnet18").state_dict()
    torch.save(state, tmp_path / "w.pt")
    network = build("resnet18", weights=tmp_path / "w.pt", in_channels=1)
    torch.testing.assert_close(
        network.backbone.state_dict()["conv1.weight"], state["conv1.weight"].sum(1, keepdim=True)
    )


@pytest.mark.parametrize("broken", ["missing", "text", "other network", "pickle"])
def test_wrong_weights_are_refused(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "w.pt"
    if broken == "text":
        path.write_text("not weights")
    elif broken == "other network":
        torch.save(timm.create_model("mobilenetv2_100").state_dict(), path)
    elif broken == "pickle":
        torch.save({"state_dict": Path("x")}, path)  # would run code if it were unpickled
    with pytest.raises(RunError, match=r"model.weights|expected the weights of resnet18"):
        build("resnet18", weights=path)


def test_unreachable_weights_are_refused_within_seconds(tmp_path: Path) -> None:
    code = (
        "import time; from emotion.models import network as door; from emotion.errors import RunError\n"
        "started = time.perf_counter()\n"
        "try: door.require_published_weights('resnet18.a1_in1k')\n"
        "except RunError as error: print(error)\n"
        "assert time.perf_counter() - started < 5"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "model.weights=FILE" in done.stdout
    assert "model.pretrained=false" in done.stdout


def test_a_network_without_weights_says_so() -> None:
    with pytest.raises(RunError, match="no published weights"):
        door.require_published_weights("minivgg")


@pytest.mark.parametrize("cached", [True, False])
def test_cached_weights_are_not_asked_for_and_others_still_can_be(
    cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    make = timm.create_model

    def create(name: str, pretrained: bool, **arguments: object) -> torch.nn.Module:
        asked.append((pretrained, constants.HF_HUB_OFFLINE))
        return make(name, **arguments)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("emotion.models.network._cached", lambda repository: cached)
    monkeypatch.setattr("emotion.models.network.require_published_weights", lambda name: None)
    monkeypatch.setattr("emotion.models.network.timm.create_model", create)
    build("resnet18", pretrained=True)
    assert asked == [(True, cached)]
    assert not constants.HF_HUB_OFFLINE
