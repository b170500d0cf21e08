"""Optimizers, fused where torch has a fused kernel: one pass over the weights instead of one an operation."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from timm.models import group_parameters
from torch import nn
from torch.optim import Optimizer

from emotion.errors import ConfigError
from emotion.schema.learning import SGD, Adadelta, Adam, AdamW, OptimizerConfig, RMSprop

ParamGroups = list[dict[str, Any]]


def parameter_groups(
    backbone: nn.Module, head: nn.Module, config: OptimizerConfig, later: Iterable[nn.Parameter] = ()
) -> ParamGroups:
    """Groups by learning rate (backbone's layers, head) and weight decay (none for biases and normalisation layers).

    Args:
        later: frozen parameters that will be trained in a later epoch. Until then they have no gradient, and an
            optimizer passes over them.

    Raises:
        ConfigError: layer_decay, and timm doesn't know the order of the backbone's layers.
    """
    groups: ParamGroups = []
    returning = {id(p) for p in later}
    for parameters, lr in (
        *_layers(backbone, config),
        (list(head.parameters()), config.head_lr or config.lr),
    ):
        trainable = [p for p in parameters if p.requires_grad or id(p) in returning]
        for decay, chosen in (
            (config.weight_decay, [p for p in trainable if p.ndim > 1]),
            (0.0, [p for p in trainable if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": decay})
    return groups


def _layers(backbone: nn.Module, config: OptimizerConfig) -> Iterator[tuple[list[nn.Parameter], float]]:
    """The backbone's parameters and their learning rate, the layer below the head first.

    The head's layer counts as the top: the first below it has lr · layer_decay (Clark et al. 2020, ELECTRA, as in
    timm and BEiT).
    """
    if config.layer_decay == 1:
        yield list(backbone.parameters()), config.lr
        return
    matcher: Any = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise ConfigError(
            "optimizer.layer_decay: expected a network whose layers' order timm knows (a group_matcher), found "
            f"{type(backbone).__name__} without. Use optimizer.head_lr, or leave layer_decay at 1."
        )
    named = dict(backbone.named_parameters())
    layers = group_parameters(backbone, matcher(coarse=False))
    for depth, layer in enumerate(sorted(layers, reverse=True), 1):
        yield [named[name] for name in layers[layer]], config.lr * config.layer_decay**depth


def _fused(groups: ParamGroups) -> bool:
    return all(
        p.device.type in ("cpu", "cuda") and torch.is_floating_point(p) for g in groups for p in g["params"]
    )


def adamw(config: AdamW, groups: ParamGroups, fused: bool = True) -> Optimizer:
    """Loshchilov & Hutter 2019: decay apart from the gradient."""
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused and _fused(groups)
    )


def adam(config: Adam, groups: ParamGroups, fused: bool = True) -> Optimizer:
    """Kingma & Ba 2015; weight decay is added to the gradient."""
    return torch.optim.Adam(
        groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused and _fused(groups)
    )


def sgd(config: SGD, groups: ParamGroups, fused: bool = True) -> Optimizer:
    nesterov = config.nesterov and config.momentum > 0
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov, fused=fused and _fused(groups)
    )


def adadelta(config: Adadelta, groups: ParamGroups, fused: bool = True) -> Optimizer:
    """Zeiler 2012; torch has no fused kernel for it."""
    return torch.optim.Adadelta(groups, lr=config.lr, rho=config.rho, eps=config.eps, foreach=True)


def rmsprop(config: RMSprop, groups: ParamGroups, fused: bool = True) -> Optimizer:
    """Tieleman & Hinton 2012, as Keras': rho 0.9 where torch has 0.99; torch has no fused kernel for it."""
    return torch.optim.RMSprop(
        groups, lr=config.lr, alpha=config.rho, momentum=config.momentum, eps=config.eps, foreach=True
    )
