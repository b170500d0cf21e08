"""Optimizers, fused where torch has a fused kernel: one pass over the weights instead of one an operation."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from emotion.schema import SGD, Adadelta, Adam, AdamW, OptimizerConfig

ParamGroups = list[dict[str, Any]]


def parameter_groups(backbone: nn.Module, head: nn.Module, config: OptimizerConfig) -> ParamGroups:
    """Groups by learning rate (backbone, head) and weight decay (none for biases and normalisation layers)."""
    groups: ParamGroups = []
    for module, lr in ((backbone, config.lr), (head, config.head_lr or config.lr)):
        trainable = [p for p in module.parameters() if p.requires_grad]
        for decay, chosen in (
            (config.weight_decay, [p for p in trainable if p.ndim > 1]),
            (0.0, [p for p in trainable if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": decay})
    return groups


def _fused(groups: ParamGroups) -> bool:
    return all(
        p.device.type in ("cpu", "cuda") and torch.is_floating_point(p) for g in groups for p in g["params"]
    )


def adamw(config: AdamW, groups: ParamGroups) -> Optimizer:
    """Loshchilov & Hutter 2019: decay apart from the gradient."""
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=_fused(groups))


def adam(config: Adam, groups: ParamGroups) -> Optimizer:
    """Kingma & Ba 2015; weight decay is added to the gradient."""
    return torch.optim.Adam(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=_fused(groups))


def sgd(config: SGD, groups: ParamGroups) -> Optimizer:
    nesterov = config.nesterov and config.momentum > 0
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov, fused=_fused(groups)
    )


def adadelta(config: Adadelta, groups: ParamGroups) -> Optimizer:
    """Zeiler 2012; torch has no fused kernel for it."""
    return torch.optim.Adadelta(groups, lr=config.lr, rho=config.rho, eps=config.eps, foreach=True)
