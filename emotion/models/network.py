"""The one door to every network: a timm backbone by name, a head of ours, and their first weights."""

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from emotion import registry
from emotion.errors import ConfigError, RunError
from emotion.models import networks  # noqa: F401  registers the studies' networks with timm
from emotion.models.convolutions import use_faster_convolutions
from emotion.models.layers import below, parameters_below
from emotion.schema import schema_of
from emotion.schema.model import HeadConfig, ModelConfig

PROBE_S = 2.0
_EDGES = (32, 48, 64, 75, 96, 112, 128, 160, 192, 224, 256, 299, 384)  # tried as a network's minimum


class Network(nn.Module):
    """A backbone with features (N, F) and a head with logits (N, K). Takes (N, C, S, S) float.

    `description` is plain data from which `rebuild` makes the same network with other weights.
    `frozen` is what `freeze` turned off: those parameters have no gradient, and BatchNorm among them stays in
    evaluation mode, so that its statistics stay too.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, description: dict[str, Any]) -> None:
        super().__init__()
        self.backbone, self.head, self.description = backbone, head, description
        self.frozen: list[nn.Parameter] = []
        self._frozen_norms: list[nn.Module] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).flatten(1))  # already flat unless the head asks for the maps

    def freeze(self, names: Sequence[str]) -> None:
        """Stop training the layers whose name begins with one of `names` (`backbone`, `backbone.layer1` …).

        Raises:
            ConfigError: a name that no layer has, or nothing is left to train.
        """
        chosen = parameters_below(self, names, "model.freeze")
        self.frozen += [parameter for parameter in chosen.values() if parameter.requires_grad]
        self._frozen_norms += [
            module
            for name, module in self.named_modules()
            if isinstance(module, _BatchNorm) and below(name, names)
        ]
        for parameter in self.frozen:
            parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise ConfigError(
                f"model.freeze: expected something left to train, found that {', '.join(names)} is all of it."
            )
        self.train(self.training)

    def unfreeze(self) -> None:
        """Train again what `freeze` turned off."""
        for parameter in self.frozen:
            parameter.requires_grad_(True)
        self.frozen, self._frozen_norms = [], []
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        super().train(mode)
        for module in self._frozen_norms:
            module.eval()
        return self


def published(name: str) -> dict[str, Any]:
    """What the network's authors say of it: input size, mean, std, classifier … (timm's default configuration)."""
    _import_plugin(name)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # timm knows the network, and no weights of this tag
        tags = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        raise ConfigError(f"model: expected one of {', '.join(tags)}, found {name!r}.") from error
    return {} if config is None else config.to_dict()


def _import_plugin(name: str) -> None:
    entry = registry.entries("model").get(name)
    if entry and entry.builder:
        registry.resolve(entry.builder)


def input_size(config: ModelConfig, store_size_px: int) -> int:
    """The edge that the network sees: as configured, else the larger of the store's and the network's minimum."""
    if config.input_size is not None:
        return config.input_size
    known = published(config.name)
    if known.get("min_input_size"):
        return max(store_size_px, known["min_input_size"][-1])
    with torch.device("meta"):  # shapes without arithmetic
        arguments: dict[str, Any] = {**config.args, "in_chans": input_channels(config)}
        for size_px in (store_size_px, *(edge for edge in _EDGES if edge > store_size_px)):
            if known.get("fixed_input_size"):
                arguments["img_size"] = size_px
            with suppress(Exception):  # of any kind: timm's and the networks' own code
                backbone = timm.create_model(config.name, num_classes=0, **arguments)
                _feature_count(backbone, arguments["in_chans"], size_px)
                return size_px
    return store_size_px  # it takes none: building it says why


def input_channels(config: ModelConfig) -> int:
    """The channels that the network sees: as configured, else as published."""
    return config.in_channels or published(config.name).get("input_size", (3,))[0]


def build(
    model: ModelConfig, head: HeadConfig, classes: int, size_px: int, load_weights: bool = True
) -> Network:
    """A new network with random, published or local weights, frozen as configured.

    Args:
        load_weights: False leaves the weights random, for a checkpoint that is loaded next.

    Raises:
        ConfigError: the network refuses its arguments or the input size, or lacks a layer that is to be frozen.
        RunError: the weights can't be had, or don't fit.
    """
    arguments: dict[str, Any] = {**model.args, "in_chans": input_channels(model)}
    if model.drop_rate:
        arguments["drop_rate"] = model.drop_rate
    if model.drop_path_rate:
        arguments["drop_path_rate"] = model.drop_path_rate
    if published(model.name).get("fixed_input_size"):
        arguments["img_size"] = size_px
    if model.pretrained and load_weights:
        require_published_weights(model.name)
    description = {
        "name": model.name,
        "args": arguments,
        "size_px": size_px,
        "classes": classes,
        "head": head.model_dump(mode="json"),
    }
    network = rebuild(description, pretrained=model.pretrained and load_weights)
    if model.weights is not None and load_weights:
        load_local_weights(network.backbone, model.name, model.weights)
    if model.freeze:
        network.freeze(model.freeze)
    return network


def rebuild(description: dict[str, Any], pretrained: bool = False) -> Network:
    """The network that `description` describes, for weights that are loaded later.

    Raises:
        ConfigError: timm or the network refuses the arguments or the input size.
    """
    name, size_px, arguments = description["name"], description["size_px"], description["args"]
    _import_plugin(name)
    head = description["head"]
    flatten = head.get("pool") == "flatten"  # a head of format 1's first version has no such key
    if flatten:
        arguments = {**arguments, "global_pool": ""}
    try:
        with _cache_before_hub(name) if pretrained else nullcontext():
            backbone = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
        use_faster_convolutions(backbone)
        features = _feature_count(backbone, arguments["in_chans"], size_px, flatten)
    except OSError as error:
        raise RunError(f"{name} with {arguments}: a file of weights can't be read ({error!r}).") from error
    except Exception as error:  # of any kind: timm's and the networks' own code meets what was typed
        others = "head.pool=network, another model.input_size" if flatten else "Another model.input_size"
        raise ConfigError(
            f"expected a network that can be built and takes {size_px}×{size_px} images, found that {name} with "
            f"{arguments} fails: {error}. {others} or model.args may help."
        ) from error
    schema = schema_of("head", head["name"])
    if schema is None:
        raise ConfigError(
            f"expected a known head, found {head['name']!r}; is the package installed that adds it?"
        )
    make = registry.builder("head", head["name"])
    return Network(backbone, make(schema.model_validate(head), features, description["classes"]), description)


@torch.no_grad()
def _feature_count(backbone: nn.Module, channels: int, size_px: int, flatten: bool = False) -> int:
    """The width of the features, from one image: timm's attributes don't agree on it for every network."""
    training = backbone.training
    features = backbone.eval()(torch.zeros(1, channels, size_px, size_px))
    backbone.train(training)
    if 0 in features.shape or not isinstance(features, Tensor):
        raise ValueError("nothing is left of the image after its strides")
    if flatten:
        return features[0].numel()
    if features.ndim != 2:
        raise ValueError(f"its features have the shape {tuple(features.shape)}, not (N, F)")
    return features.shape[1]


def require_published_weights(name: str) -> None:
    """Return at once if timm's weights of `name` are in the local cache or can be reached within 2 s.

    Raises:
        RunError: neither; the text names the ways out.
    """
    config = published(name)
    repository = config.get("hf_hub_id")
    if not repository and not config.get("url") and not config.get("file"):
        raise RunError(
            f"{name} has no published weights. Set model.pretrained=false, or model.weights to a file."
        )
    if repository and _cached(repository):
        return
    from huggingface_hub import constants

    address = constants.ENDPOINT if repository else config["url"]
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PROBE_S)  # noqa: S310
    except urllib.error.HTTPError:
        return  # it answered
    except (OSError, ValueError) as error:
        raise RunError(
            f"model.pretrained=true needs the published weights of {name}; they are not in the local cache, and "
            f"{address} could not be reached within {PROBE_S:g} s ({error}). Two ways out: model.weights=FILE with a "
            f"file of yours (.pt, .safetensors), or model.pretrained=false to start from random weights."
        ) from error


@contextmanager
def _cache_before_hub(name: str) -> Iterator[None]:
    """Weights that are in the local cache are taken from it: a hub that can't be reached is asked for 46 s else."""
    from huggingface_hub import constants

    before, repository = constants.HF_HUB_OFFLINE, published(name).get("hf_hub_id")
    constants.HF_HUB_OFFLINE = before or bool(repository and _cached(repository))
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _cached(repository: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    names = ("model.safetensors", "pytorch_model.bin")
    return any(
        isinstance(try_to_load_from_cache(repository, n, revision=revision or None), str) for n in names
    )


def load_local_weights(backbone: nn.Module, name: str, path: Path) -> None:
    """Load a state dict of timm's `name` into its backbone, leaving out the classifier's tensors.

    A backbone that is published under other names says so by `from_published(state) -> state`.

    Raises:
        RunError: the file is missing, no state dict, or another network's.
    """
    state = _read_state(path)
    rename: Any = getattr(backbone, "from_published", None)
    if rename is not None:
        state = rename(state)
    config = published(name)
    classifiers = config.get("classifier") or ()
    prefixes = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    ours = backbone.state_dict()
    first = config.get("first_conv")
    for key in [f"{c}.weight" for c in ((first,) if isinstance(first, str) else first or ())]:
        if key in state and key in ours and state[key].shape[1] != ours[key].shape[1]:
            state[key] = adapt_input_conv(ours[key].shape[1], state[key])
    state = {
        key: t
        for key, t in state.items()
        if not any(key.startswith(f"{p}.") for p in prefixes) or key in ours
    }
    wrong = misfit(ours, state)
    if wrong:
        raise RunError(
            f"expected the weights of {name} in {path}, found tensors {wrong}. "
            "Is model.name the network that the file belongs to? A run's own weights are taken by model.init_from=RUN."
        )
    backbone.load_state_dict(state)


def misfit(ours: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """In what the tensors of `state` differ from ours by name and shape; "" where they fit."""
    missing = sorted(ours.keys() - state.keys())
    foreign = sorted(state.keys() - ours.keys())
    shapes = sorted(k for k in ours.keys() & state.keys() if ours[k].shape != state[k].shape)
    return ", ".join(
        f"{len(keys)} {what} (such as {keys[0]})"
        for what, keys in (("missing", missing), ("unknown", foreign), ("of another shape", shapes))
        if keys
    )


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise RunError(f"model.weights: expected a file, found nothing at {path}.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(
            f"model.weights: expected a state dict (.pt, .pth) or .safetensors, but {path} can't be read: "
            f"{str(error).splitlines()[0]}"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise RunError(f"model.weights: expected a state dict, found something else in {path}.")
    return state
