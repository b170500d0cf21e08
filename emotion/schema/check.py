"""Whether a composed configuration is one: all problems at once, before anything heavy is imported."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from emotion.errors import ConfigError
from emotion.registry import Group, entries
from emotion.schema.choices import DEFAULTS, SINGLE, schema_of
from emotion.schema.errors import leaves, meant, nearest, problems_of, suggest
from emotion.schema.learning import CyclicCosineSchedule, LossConfig, TrainerConfig
from emotion.schema.model import ModelConfig
from emotion.schema.run import GROUPS, RunConfig, TopLevel, dotted_keys


def validate(plain: dict[str, Any]) -> RunConfig:
    """Check a composed configuration.

    Args:
        plain: nested dicts as composed by Hydra, without its own section.

    Raises:
        ConfigError: lists every problem: the key, what was expected, what was found, the nearest right name.
    """
    everything = [*TopLevel.model_fields, *GROUPS]
    known = [*everything, "experiment", *(key for key, _ in dotted_keys())]
    problems: list[str] = []
    sections: dict[str, Group] = {}
    for group in GROUPS:
        section = plain.get(group)
        section = {} if section is None else section
        if not isinstance(section, dict):
            problems.append(f"{group}: expected keys and values, found {section!r}")
            continue
        default = RunConfig.model_fields[group].annotation
        name = section.get("name", DEFAULTS.get(group)) if group not in SINGLE else None
        schema = schema_of(group, name)
        if schema is None:
            names = list(entries(group))
            problems.append(
                f"{group}.name: expected one of {', '.join(names)}, found {name!r}{suggest(nearest(str(name), names))}"
            )
            continue
        assert default is not None
        try:
            sections[group] = schema.model_validate(
                {**section, **({"name": name} if name is not None else {})}
            )
        except ValidationError as error:
            problems += problems_of(error, group, name, schema, known)
    checked = TopLevel()
    try:
        checked = TopLevel.model_validate(
            {k: value for k, value in plain.items() if k in TopLevel.model_fields}
        )
    except ValidationError as error:
        problems += problems_of(error, "", None, TopLevel, known)
    for key in leaves({k: value for k, value in plain.items() if k not in everything}):
        hint = suggest(meant(key, known)) or f" (known are {', '.join(everything)}, experiment)"
        problems.append(f"{key}: unknown key{hint}")
    if checked.fold is not None and checked.fold >= checked.folds:
        problems.append(
            f"fold: expected null or 0 to {checked.folds - 1} (folds={checked.folds}), found {checked.fold}"
        )
    model = sections.get("model")
    if isinstance(model, ModelConfig):
        problems += _model_problems(model)
    schedule, trainer = sections.get("schedule"), sections.get("trainer")
    if isinstance(schedule, CyclicCosineSchedule) and isinstance(trainer, TrainerConfig):
        problems += _cycle_problems(schedule, trainer)
    if isinstance(trainer, TrainerConfig):
        problems += _late_problems(sections, trainer.max_epochs)
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError("\n  ".join([f"The configuration has {count}:", *problems]))
    return RunConfig.model_validate({**checked.model_dump(), **sections})


def _model_problems(model: ModelConfig) -> Iterator[str]:
    """Keys of the model that don't go together."""
    sources = ("model.pretrained=true", "model.weights", "model.init_from")
    given = [
        name
        for name, value in zip(sources, (model.pretrained, model.weights, model.init_from), strict=True)
        if value
    ]
    if len(given) > 1:
        which = "one of the two" if len(given) == 2 else "one"
        yield (
            f"{given[-1]}: expected nothing beside {' and '.join(given[:-1])}, found a path; choose {which}"
        )
    if model.freeze_epochs is not None and not model.freeze:
        yield (
            f"model.freeze_epochs: expected null where nothing is frozen, found {model.freeze_epochs}; "
            "name the layers in model.freeze"
        )


def _late_problems(sections: dict[str, Group], epochs: int) -> Iterator[str]:
    """Changes at an epoch that never comes: the run would pass for another method than it is."""
    loss, model = sections.get("loss"), sections.get("model")
    if isinstance(loss, LossConfig) and loss.class_weights != "none" and loss.weights_from_epoch >= epochs:
        yield (
            f"loss.weights_from_epoch: expected less than trainer.max_epochs={epochs}, "
            f"found {loss.weights_from_epoch}"
        )
    if isinstance(model, ModelConfig) and model.freeze_epochs is not None and model.freeze_epochs >= epochs:
        yield (
            f"model.freeze_epochs: expected less than trainer.max_epochs={epochs}, or null for layers that stay "
            f"frozen, found {model.freeze_epochs}"
        )


def _cycle_problems(schedule: CyclicCosineSchedule, trainer: TrainerConfig) -> Iterator[str]:
    """A cycle has to end with an epoch: that is when weights are kept."""
    epochs = trainer.max_epochs
    if epochs % schedule.cycles:
        fitting = [str(n) for n in range(2, epochs + 1) if epochs % n == 0]
        near = f"one of {', '.join(fitting)}" if fitting else "a trainer.max_epochs that can be divided"
        yield (
            f"schedule.cycles: expected cycles of whole epochs, found {schedule.cycles} cycles in "
            f"trainer.max_epochs={epochs}; {near} would do"
        )
