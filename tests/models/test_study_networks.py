"""The studies' networks: parameter counts as in the reports, shapes, and that every weight is trained."""

from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from emotion.errors import ConfigError
from emotion.launch import compose
from emotion.models import network as door
from emotion.registry import entries
from emotion.schema.model import HeadConfig, LinearHead, MlpHead, ModelConfig
from emotion.studies.study import load
from emotion.studies.tasks import tasks_of

DESCRIBED = {"widths": [32, 16], "kernels": [5, 3], "hidden": [128, 32]}
BLOCKS_1_TO_3, BLOCKS_1_TO_4 = 1_735_488, 7_635_264  # weights of VGG16's first blocks


def build(name: str, size_px: int, classes: int, head: HeadConfig | None = None, **keys: Any) -> door.Network:
    return door.build(ModelConfig(name=name, **keys), head or LinearHead(), classes, size_px)


def of_row(study: str, row: str) -> door.Network:
    """The network that a study's row trains, without arithmetic and without its first weights."""
    found = load(study)
    config = compose(tasks_of(found, found.row(row), "full")[0].overrides)
    with torch.device("meta"):
        return door.build(config.model, config.head, 7, door.input_size(config.model, 48), load_weights=False)


def draw_norms(network: nn.Module) -> None:
    """BatchNorm as it may be after training. With factors of both signs no layer can change places with the next."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values)
            nn.init.uniform_(module.running_var, 0.5, 2)


def counts(network: nn.Module) -> tuple[int, int, int]:
    """Weights, BatchNorm's statistics, trainable weights."""
    return (
        sum(p.numel() for p in network.parameters()),
        sum(
            b.numel() for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var"))
        ),
        sum(p.numel() for p in network.parameters() if p.requires_grad),
    )


@pytest.mark.parametrize(
    ("name", "size_px", "classes", "head", "keys", "weights", "stats"),
    [
        # study A, weights + stats as published: 2,299,207 and 4,133,859
        ("mobilenetv2_100", 96, 7, MlpHead(hidden=[32], activation="sigmoid", dropout=0.3), {}, 2_265_095, 34_112),
        ("efficientnet_b0", 96, 7, MlpHead(hidden=[64, 32], activation="sigmoid"), {}, 4_091_843, 42_016),
        # study B
        ("minivgg", 48, 7, None, {}, 3_060_071, 0),
        ("minivgg_tuned", 48, 7, None, {}, 3_063_271, 3_200),
        # study C, listed and described
        ("shallow_cnn", 50, 8, None, {}, 2_168_776, 0),
        ("shallow_cnn", 150, 8, None, {}, 21_829_576, 0),
        ("shallow_cnn", 50, 8, None, {"args": DESCRIBED}, 214_776, 0),
        ("shallow_cnn", 150, 8, None, {"args": DESCRIBED}, 2_518_776, 0),
        # study D
        ("plain_cnn", 180, 7, None, {}, 1_066_311, 0),
        ("plain_cnn", 180, 7, None, {"args": {"conv_dropout": 0.2, "hidden": [512]}}, 7_405_127, 0),
        # study E
        ("affect_base", 64, 11, None, {}, 1_144_075, 704),
        ("affect_base", 128, 11, None, {}, 4_289_803, 704),
        ("affect_resnet", 64, 11, None, {}, 2_613_227, 1_408),
        ("affect_resnet", 128, 11, None, {}, 9_691_115, 1_408),
        ("affect_densenet", 64, 11, None, {}, 6_395_723, 3_328),
        ("affect_densenet", 128, 11, None, {}, 22_320_971, 3_328),
        ("affect_hybrid", 64, 11, None, {}, 4_170_987, 4_672),
        ("affect_hybrid", 128, 11, None, {}, 8_889_579, 4_672),
        # 128·32 + 32 more, and 16·16·32 instead of 16·16·128 values into 192 units
        ("affect_hybrid", 128, 11, None, {"args": {"bottleneck": 32}}, 8_889_579 + 4_128 - 256 * 96 * 192, 4_672),
    ],
)  # fmt: skip
def test_counts_are_those_of_the_reports(
    name: str, size_px: int, classes: int, head: HeadConfig | None, keys: dict, weights: int, stats: int
) -> None:
    with torch.device("meta"):
        network = build(name, size_px, classes, head, **keys)
        logits = network.eval()(torch.zeros(2, door.input_channels(ModelConfig(name=name)), size_px, size_px))
    assert counts(network) == (weights, stats, weights)
    assert logits.shape == (2, classes)


@pytest.mark.parametrize(
    ("study", "row", "weights", "stats", "frozen"),
    [
        ("fer2013_vgg", "pretrained", 21_293_383, 8_192, BLOCKS_1_TO_3),  # 19,557,895 trainable as published
        # by hand: blocks 1-4, 4608·512 + 512, 512·512 + 512, 512·7 + 7, two BatchNorms
        ("fer2013_vgg", "pretrained_512", BLOCKS_1_TO_4 + 2_359_808 + 262_656 + 3_591 + 2_048, 2_048, BLOCKS_1_TO_3),
        ("fer2013_vgg", "finetuned", 21_293_383, 8_192, BLOCKS_1_TO_3),
        ("fer2013_vgg", "finetuned_whole", 21_293_383, 8_192, 0),
        # torchvision's 138,357,544 with 7 outputs in place of 1000
        ("fer2013_vgg", "vgg16_scratch", 138_357_544 - 993 * 4097, 0, 0),
        ("fer2013_vgg", "vgg16_last_layer", 138_357_544 - 993 * 4097, 0, 138_357_544 - 1000 * 4097),
        ("fer2013_vgg", "vgg16_levels", 14_714_688 + 1280 * 7 + 7, 0, 14_714_688),
        ("fer2013_undersampling", "vgg16_frozen", 17_993_543, 0, 17_993_543 - 3_278_855),
        ("fer2013_undersampling", "vgg16_tuned", 17_993_543, 0, 17_993_543 - 10_358_279),
    ],
)  # fmt: skip
def test_counts_of_the_rows_with_vgg16(study: str, row: str, weights: int, stats: int, frozen: int) -> None:
    network = of_row(study, row)
    edge = network.description["size_px"]
    assert counts(network) == (weights, stats, weights - frozen)
    assert network.eval()(torch.zeros(2, 3, edge, edge, device="meta")).shape == (2, 7)


@pytest.mark.parametrize(("row", "units"), [("pretrained", 2048), ("pretrained_512", 512)])
def test_study_b_s_head_has_batch_norm_and_one_dropout(row: str, units: int) -> None:
    network = of_row("fer2013_vgg", row)
    kinds = [type(m).__name__ for m in network.head if getattr(m, "p", None) != 0]
    hidden = ["Linear", "ReLU", "BatchNorm1d"]
    assert kinds == [*hidden, "Dropout", *hidden, "Linear"]
    assert [m.out_features for m in network.head if isinstance(m, nn.Linear)] == [units, units, 7]
    assert [m.p for m in network.head if isinstance(m, nn.Dropout)] == [0.8, 0.0]


@pytest.mark.parametrize(
    ("name", "size_px", "args"),
    [
        ("minivgg", 48, {"act_layer": "leaky_relu"}),
        ("minivgg_tuned", 48, {}),
        ("shallow_cnn", 50, {}),
        ("shallow_cnn", 50, DESCRIBED),
        ("plain_cnn", 180, {"conv_dropout": 0.2, "dense_dropout": 0.5, "hidden": [512]}),
        ("affect_base", 64, {}),
        ("affect_resnet", 64, {}),
        ("affect_densenet", 64, {"width": 8}),
        ("affect_hybrid", 64, {"width": 8, "bottleneck": 4}),
        ("vgg16_blocks", 48, {"blocks": 4, "levels": [2, 4]}),
    ],
)
def test_one_step_reaches_every_weight(name: str, size_px: int, args: dict) -> None:
    torch.manual_seed(0)
    network = build(name, size_px, 7, args=args).train()
    draw_norms(network)
    x = torch.rand(4, door.input_channels(ModelConfig(name=name)), size_px, size_px)
    trained = dict(network.named_parameters())
    before = {key: p.detach().clone() for key, p in trained.items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    loss = F.cross_entropy(network(x), torch.arange(4))
    loss.backward()
    slopes = {key: 0.0 if p.grad is None else p.grad.abs().sum().item() for key, p in trained.items()}
    optimizer.step()
    # BatchNorm takes a bias before it away, all but rounding's slope. In study E's networks these are all of them: from
    # the hybrid's last convolutions to the BatchNorm of its dense layer there is no activation
    layers = network.backbone.named_modules() if name.startswith("affect") else ()
    taken_away = {f"backbone.{place}.bias" for place, m in layers if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {key for key, slope in slopes.items() if slope < 1e-3} == taken_away
    assert {key for key, p in trained.items() if torch.equal(p, before[key])} <= taken_away
    assert torch.isfinite(loss)
    assert torch.isfinite(network.eval()(x)).all()


def test_tuned_normalises_after_the_activation() -> None:
    kinds = [type(module).__name__ for module in build("minivgg_tuned", 48, 7).backbone.features]
    assert kinds[:8] == [
        "Conv2d",
        "ReLU",
        "BatchNorm2d",
        "Dropout",
        "Conv2d",
        "ReLU",
        "BatchNorm2d",
        "MaxPool2d",
    ]
    rates = [
        m.p for m in build("minivgg_tuned", 48, 7).backbone.modules() if isinstance(m, nn.Dropout) and m.p
    ]
    assert rates == [0.4, 0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize(
    ("name", "activations"),
    [("minivgg", 9), ("affect_base", 4), ("affect_resnet", 4), ("affect_densenet", 4), ("affect_hybrid", 5)],
)
def test_leaky_relu_replaces_every_activation(name: str, activations: int) -> None:
    network = build(name, 48, 7, args={"act_layer": "leaky_relu"})
    assert not any(isinstance(m, nn.ReLU) for m in network.modules())
    assert len([m for m in network.modules() if isinstance(m, nn.LeakyReLU)]) == activations


def test_the_hybrid_s_branches_share_one_convolution() -> None:
    network = build("affect_hybrid", 64, 11, args={"width": 4}).eval()
    outputs = []
    trunk: Any = network.backbone.features
    trunk.reduce.register_forward_hook(lambda *a: outputs.append(a[2]))
    seen = []
    for branch in (trunk.branch5, trunk.branch3):
        branch.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(torch.rand(1, 3, 64, 64))
    assert len(outputs) == 1
    assert all(one is outputs[0] for one in seen)
    assert len(seen) == 2


def study_e(name: str) -> Any:
    torch.manual_seed(0)
    network = build(name, 32, 11, args={"width": 4}).double().eval()
    draw_norms(network)
    return network.backbone


def from_the_text(name: str, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Study E's networks up to the dense layer's ReLU, written out once more."""

    def conv(place: str, x: Tensor) -> Tensor:
        kernel = weights[f"{place}.weight"]
        return F.conv2d(x, kernel, weights[f"{place}.bias"], padding=kernel.shape[2] // 2)

    def norm(place: str, x: Tensor) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(weights[f"{place}.{name}"] for name in names))

    def normed(place: str, x: Tensor) -> Tensor:
        return norm(f"features.{place}.1", conv(f"features.{place}.0", x))

    def pool(x: Tensor, by: int = 2) -> Tensor:
        return F.max_pool2d(x, by)

    if name == "affect_base":
        for place in range(3):
            x = pool(normed(f"{place}.0", x)).relu()
    if name == "affect_resnet":
        one = pool(normed("block1.0", x)).relu()
        two = pool(normed("block2.0", one)).relu()
        x = pool(normed("block3", two) + pool(normed("skip13", one))).relu()
    if name in ("affect_densenet", "affect_hybrid"):
        within = "dense." if name == "affect_hybrid" else ""
        one = normed(f"{within}block1.0", x).relu()
        two = pool(normed(f"{within}block2.0", one)).relu()
        three = pool(normed(f"{within}block3", two) + pool(normed(f"{within}skip13", one))).relu()
        skips = pool(normed(f"{within}skip24", two)) + pool(normed(f"{within}skip14", one), 4)
        x = pool(normed(f"{within}block4", three) + skips).relu()
    if name == "affect_hybrid":
        earlier = pool(normed("skip1", one), 4) + pool(normed("skip2", two)) + normed("skip3", three)
        x = (normed("merge4", x) + pool(earlier)).relu()
        reduced = conv("features.reduce", x)
        x = torch.cat(
            [
                conv("features.branch1", x),
                conv("features.branch5", reduced),
                conv("features.branch3", reduced),
                conv("features.branch_all", x),
            ],
            dim=1,
        )
        x = conv("features.join", x)
    return norm("dense.2", F.linear(x.flatten(1), weights["dense.1.weight"], weights["dense.1.bias"])).relu()


@pytest.mark.parametrize("name", ["affect_base", "affect_resnet", "affect_densenet", "affect_hybrid"])
def test_study_e_s_networks_are_those_of_its_text(name: str) -> None:
    backbone = study_e(name)
    x = torch.rand(3, 3, 32, 32).double()
    expected = from_the_text(name, backbone.state_dict(), x)
    assert expected.any(1).all()
    torch.testing.assert_close(backbone(x), expected)


def test_a_relu_too_few_is_seen() -> None:
    backbone = study_e("affect_hybrid")
    backbone.features.act = nn.Identity()  # behind the fifth sum alone
    x = torch.rand(3, 3, 32, 32).double()
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(backbone(x), from_the_text("affect_hybrid", backbone.state_dict(), x))


def test_vgg16_blocks_is_timm_s_vgg16(tmp_path: Any) -> None:
    """Also the test of its weights' names: a file of vgg16 gives the maps that vgg16 has there."""
    torch.manual_seed(0)
    reference: Any = timm.create_model("vgg16", num_classes=5, mlp_ratio=0.01).eval()
    save_file(reference.state_dict(), tmp_path / "vgg16.safetensors")
    ours = build("vgg16_blocks", 64, 7, args={"blocks": 4}, weights=tmp_path / "vgg16.safetensors").eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        theirs = reference.features[:24](x)
        torch.testing.assert_close(ours.backbone.forward_features(x), theirs)
        torch.testing.assert_close(ours.backbone(x), theirs.mean((2, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_vgg16_blocks_takes_timm_s_published_weights(tmp_path: Any, channels: int) -> None:
    """As `model.pretrained=true` loads them, from a file in place of the hub."""
    torch.manual_seed(0)
    state = timm.create_model("vgg16", num_classes=1000, mlp_ratio=0.01).state_dict()
    save_file(state, tmp_path / "vgg16.safetensors")
    overlay = {"file": str(tmp_path / "vgg16.safetensors")}
    ours: Any = timm.create_model(
        "vgg16_blocks",
        pretrained=True,
        num_classes=0,
        blocks=4,
        in_chans=channels,
        pretrained_cfg_overlay=overlay,
    )
    first = state["features.0.weight"]
    expected = first if channels == 3 else first.sum(1, keepdim=True)
    torch.testing.assert_close(ours.features[0][0].weight, expected)
    assert torch.equal(ours.features[3][4].weight, state["features.21.weight"])


def test_levels_are_pooled_and_concatenated() -> None:
    torch.manual_seed(0)
    several: Any = build("vgg16_blocks", 32, 7, args={"blocks": 3, "levels": [1, 3]}).eval().backbone
    x = torch.rand(2, 3, 32, 32)
    first = several.features[0](x)
    last = several.features[2](several.features[1](first))
    torch.testing.assert_close(several(x), torch.cat([first.mean((2, 3)), last.mean((2, 3))], 1))
    flat = build("vgg16_blocks", 32, 7, LinearHead(pool="flatten"), args={"blocks": 3, "levels": [1, 3]})
    assert flat.head[1].in_features == 64 * 16**2 + 256 * 4**2


def test_wrong_levels_are_said() -> None:
    with pytest.raises(ConfigError, match=r"found blocks=2 and levels=\(1, 3\)"):
        build("vgg16_blocks", 48, 7, args={"blocks": 2, "levels": [1, 3]})


def test_flattened_maps_are_all_values() -> None:
    network = build("resnet18", 48, 7, LinearHead(pool="flatten"))
    assert network.head[1].in_features == 512 * 2 * 2
    x = torch.rand(2, 3, 48, 48)
    network.eval()
    expected = network.head(network.backbone.forward_features(x).flatten(1))
    torch.testing.assert_close(network(x), expected)
    again = door.rebuild(network.description)
    again.load_state_dict(network.state_dict())


def test_a_network_without_maps_to_flatten_is_said() -> None:
    with pytest.raises(ConfigError, match=r"global_pool.*head.pool=network"):
        build("minivgg", 48, 7, LinearHead(pool="flatten"))


def test_every_head_knows_flatten() -> None:
    assert all("pool" in entry.schema.model_fields for entry in entries("head").values())
