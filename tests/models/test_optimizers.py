import math

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from emotion import registry, schema
from emotion.errors import ConfigError
from emotion.models import networks  # noqa: F401  registers them with timm
from emotion.models.optimizers import parameter_groups
from emotion.models.schedules import finished_cycle
from emotion.schema.learning import AdamW, CosineSchedule, CyclicCosineSchedule, PlateauSchedule


def stepper(name: str, **keys: object) -> torch.optim.Optimizer:
    config = registry.entries("optimizer")[name].schema(name=name, **keys)
    torch.manual_seed(0)
    backbone, head = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
    groups = parameter_groups(backbone, head, config)
    return registry.builder("optimizer", name)(config, groups)


def test_groups_split_by_rate_and_decay() -> None:
    optimizer = stepper("adamw", lr=0.1, head_lr=0.5, weight_decay=0.3)
    found = [
        (g["lr"], g["weight_decay"], [tuple(p.shape) for p in g["params"]]) for g in optimizer.param_groups
    ]
    assert found == [
        (0.1, 0.3, [(4, 4)]),
        (0.1, 0.0, [(4,), (4,), (4,)]),
        (0.5, 0.3, [(2, 4)]),
        (0.5, 0.0, [(2,)]),
    ]


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0, foreach=False)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.01, foreach=False)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, foreach=False)),
        ("adadelta", lambda p: torch.optim.Adadelta(p, lr=0.01, rho=0.9, foreach=False)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, foreach=False)),
    ],
)
def test_equals_the_plain_torch_optimizer(name: str, reference) -> None:
    keys = {"weight_decay": 0} if name == "adamw" else {}
    optimizer = stepper(name, lr=0.01, **keys)
    ours = [p for g in optimizer.param_groups for p in g["params"]]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    other = reference(theirs)
    for step in range(5):
        for mine, copy in zip(ours, theirs, strict=True):
            mine.grad = torch.sin(torch.arange(mine.numel()) + step).view_as(mine)
            copy.grad = mine.grad.clone()
        optimizer.step()
        other.step()
    for mine, copy in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, copy)


def rates(name: str, steps: int, epochs: int = 10, **keys: object) -> list[float]:
    config = registry.entries("schedule")[name].schema(name=name, **keys)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = registry.builder("schedule", name)(config, optimizer, steps, epochs, "max")
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_cosine_is_torch_s_after_the_warm_up() -> None:
    found = rates("cosine", 100, warmup_epochs=2)
    assert found[0] == pytest.approx(0.02)
    assert found[10] == pytest.approx(2 * (0.01 + 0.99 * 0.5))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 80)
    for value in found[20:]:
        assert value == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()


def test_cyclic_cosine_is_torch_s_warm_restarts() -> None:
    found = rates("cyclic_cosine", 100, cycles=4, final=0.1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 25, eta_min=0.2)
    for value in found:
        assert value == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        reference.step()


def test_a_cycle_ends_with_an_epoch() -> None:
    config = CyclicCosineSchedule(cycles=3)
    found = [finished_cycle(config, epoch, 12) for epoch in range(12)]
    assert found == [None, None, None, 1, None, None, None, 2, None, None, None, 3]
    assert finished_cycle(CosineSchedule(), 11, 12) is None
    with pytest.raises(ConfigError, match="found 5 cycles in trainer.max_epochs=12; one of 2, 3, 4, 6, 12"):
        schema.validate({"schedule": {"name": "cyclic_cosine"}, "trainer": {"max_epochs": 12}})


def test_one_cycle_rises_and_falls() -> None:
    found = rates("one_cycle", 100, rise=0.3, start=0.1, final=0.0)
    assert found[0] == pytest.approx(0.2)
    assert max(found) == pytest.approx(2.0)
    assert found.index(max(found)) == 30
    assert found[-1] == pytest.approx(2 * (1 + math.cos(math.pi * 69 / 70)) / 2)


def test_inverse_time_is_keras_formula() -> None:
    assert rates("inverse_time", 50, decay=0.1) == pytest.approx([2 / (1 + 0.1 * t) for t in range(50)])


def test_constant_is_constant() -> None:
    assert set(rates("constant", 5)) == {2.0}


def test_plateau_waits_for_the_metric() -> None:
    config = PlateauSchedule(factor=0.1, patience=1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = registry.builder("schedule", "plateau")(config, optimizer, 10, 10, "max")
    found = []
    for value in (0.5, 0.6, 0.6, 0.6, 0.7):
        schedule.step(value)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([1, 1, 1, 0.1, 0.1])


def test_layer_decay_is_timm_s() -> None:
    """The rate of each of the backbone's weights, against timm's groups of the whole network with its classifier."""
    network = timm.create_model("resnet18", num_classes=7)
    expected = {
        id(p): 0.1 * group["lr_scale"]
        for group in param_groups_layer_decay(network, layer_decay=0.5)
        for p in group["params"]
    }
    head = network.fc
    network.reset_classifier(0)
    config = AdamW(lr=0.1, layer_decay=0.5)
    found = {id(p): g["lr"] for g in parameter_groups(network, head, config) for p in g["params"]}
    assert found == pytest.approx(expected)
    assert found[id(network.conv1.weight)] < found[id(network.layer4[1].conv2.weight)] == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["minivgg_tuned", "affect_hybrid", "vgg16_blocks"])
def test_layer_decay_of_the_studies_networks_falls_towards_the_input(name: str) -> None:
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
    groups = parameter_groups(backbone, nn.Linear(4, 2), AdamW(lr=0.1, head_lr=1.0, layer_decay=0.5))
    rates = {id(p): g["lr"] for g in groups for p in g["params"]}
    in_order = [rates[id(p)] for p in backbone.parameters()]
    assert in_order == sorted(in_order)
    assert in_order[-1] == pytest.approx(0.05)
    assert groups[-1]["lr"] == 1.0


def test_layer_decay_without_known_layers_is_said() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.layer_decay: .* found Sequential without"):
        parameter_groups(nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2), AdamW(layer_decay=0.5))


def test_parameters_that_are_trained_later_are_in_the_groups() -> None:
    backbone, head = nn.Linear(4, 4), nn.Linear(4, 2)
    backbone.requires_grad_(False)
    assert len(parameter_groups(backbone, head, AdamW())) == 2
    groups = parameter_groups(backbone, head, AdamW(), later=list(backbone.parameters()))
    assert [id(p) for g in groups for p in g["params"]] == [
        id(p) for p in (*backbone.parameters(), *head.parameters())
    ]
