"""A checked configuration of one run, and its keys by their dotted names."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import Field, SerializeAsAny, create_model
from pydantic.fields import FieldInfo

from emotion.registry import Group, Named, entries
from emotion.schema.choices import SINGLE
from emotion.schema.data import DataConfig
from emotion.schema.images import PreprocessConfig
from emotion.schema.learning import (
    CallbacksConfig,
    EvaluationConfig,
    LossConfig,
    OptimizerConfig,
    TrainerConfig,
)
from emotion.schema.machine import MachineConfig
from emotion.schema.model import HeadConfig, ModelConfig
from emotion.schema.types import Fraction, Seed, path_key


class TopLevel(Group):
    """The keys outside every group."""

    seed: Seed = Field(0, description="seed of weights, dropout, sampling and augmentation; 0 is a seed")
    fold: Annotated[int, Field(ge=0)] | None = Field(
        None, description="validate on this fold of the pool; null: the official split or a hold-out"
    )
    folds: Annotated[int, Field(ge=2)] = Field(4, description="number of folds")
    val_fraction: Fraction = Field(
        0.1, description="validation share where there is no official part (fold=null)"
    )
    test_fraction: Fraction = Field(0.2, description="test share where there is no official part")
    force: bool = Field(False, description="start a new attempt although the run is finished or begun")
    name: str | None = Field(None, description="a name of yours, shown in tables")


class RunConfig(TopLevel):
    """A checked configuration of one run."""

    data: SerializeAsAny[DataConfig]
    preprocess: SerializeAsAny[PreprocessConfig]
    model: SerializeAsAny[ModelConfig]
    head: SerializeAsAny[HeadConfig]
    augment: SerializeAsAny[Named]
    sampling: SerializeAsAny[Named]
    loss: SerializeAsAny[LossConfig]
    optimizer: SerializeAsAny[OptimizerConfig]
    schedule: SerializeAsAny[Named]
    trainer: TrainerConfig
    callbacks: CallbacksConfig
    evaluation: EvaluationConfig
    machine: MachineConfig
    logger: SerializeAsAny[Named]

    @property
    def same_command(self) -> str:
        """What is typed to continue this run; as it was, force=true would start one more attempt."""
        return f"The same command{' without force=true' if self.force else ''}"

    def plain(self) -> dict[str, Any]:
        """The configuration as plain dicts, lists, strings and numbers."""
        return self.model_dump(mode="json")

    def portable(self) -> dict[str, Any]:
        """As `plain`, without what belongs to a machine: for files that are handed to others."""
        plain = self.plain()
        del plain["machine"]
        for group, section in plain.items():
            if isinstance(section, dict):
                for key, field in type(getattr(self, group)).model_fields.items():
                    if path_key(field):
                        section[key] = None
        return plain


GROUPS = tuple(key for key in RunConfig.model_fields if key not in TopLevel.model_fields)


def dotted_keys() -> Iterator[tuple[str, FieldInfo]]:
    """The dotted names of all keys but a group's choice, each with its field: once for every choice that has it."""
    yield from TopLevel.model_fields.items()
    for group in GROUPS:
        for schema in _schemas_of(group):
            yield from (item for item in _keys_in(group, schema) if item[0] != f"{group}.name")


def _keys_in(prefix: str, schema: type[Group]) -> Iterator[tuple[str, FieldInfo]]:
    for key, field in schema.model_fields.items():
        yield f"{prefix}.{key}", field
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            yield from _keys_in(f"{prefix}.{key}", field.annotation)


def _schemas_of(group: str) -> list[type[Group]]:
    """The schemas of all choices of a group."""
    if group in SINGLE:
        return [SINGLE[group]]
    return [
        *(entry.schema for entry in entries(group).values()),
        *([ModelConfig] if group == "model" else []),
    ]


def takes_list(key: str) -> bool:
    """Whether a list may be the value of this dotted key."""
    kinds = [
        kind
        for name, field in dotted_keys()
        if name == key
        for kind in (field.annotation, *get_args(field.annotation))
    ]
    return any(get_origin(kind) in (list, tuple) for kind in kinds)


def path_keys() -> frozenset[str]:
    """The dotted names of all keys whose value is a path."""
    return frozenset(key for key, field in dotted_keys() if path_key(field))


def json_schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, for editors: a group is the union of its registered names."""
    fields: dict[str, Any] = {key: (field.annotation, field) for key, field in TopLevel.model_fields.items()}
    for group in GROUPS:
        if group in SINGLE:
            fields[group] = (SINGLE[group] | None, None)
            continue
        schemas = _schemas_of(group)
        union: Any = schemas[0]
        for schema in schemas[1:]:
            union = union | schema
        fields[group] = (union | None, None)
    model: Any = create_model("emotion", __base__=Group, **fields)
    made: dict[str, Any] = model.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["properties"]["defaults"] = {
        "type": "array",
        "description": "Hydra's list of the files this one builds on",
    }
    return made
