"""`machine` and `logger`: where a run is computed and shown. Neither is part of its identity."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from emotion.registry import Group, Named, entries
from emotion.schema.errors import nearest, suggest
from emotion.schema.types import MachinePath, OptionalMachinePath


class MachineConfig(Group):
    devices: Literal["auto", "cpu", "cuda", "mps"] | Annotated[int, Field(ge=0)] = Field(
        "auto", description="auto: a GPU where there is one; cpu; or the number of a GPU"
    )
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        "auto",
        description="processes that augment or fetch images; auto: none on the CPU, up to 4 beside a GPU",
    )
    threads: Literal["auto"] | PositiveInt = Field("auto", description="threads of the network on the CPU")
    images: Literal["auto", "host", "device"] = Field(
        "auto",
        description="where prepared images lie in training, unless the host augments them; auto: on a GPU with room",
    )
    jobs: PositiveInt = Field(
        1, description="jobs of a sweep at once on each GPU, or on the CPU, whose threads they then share"
    )
    runs_dir: MachinePath = Field(Path("runs"), description="where run folders lie")
    cache_dir: OptionalMachinePath = Field(
        None, description="where prepared data lies; null: $EMOTION_CACHE, else ~/.cache/emotion"
    )


class NoLogger(Named):
    name: Literal["none"] = "none"


class LoggerConfig(Named):
    """A view of the run folder. metrics.csv is always written, so there is no logger for it."""

    also: list[str] = Field([], description="further loggers, with their defaults, as in [tensorboard]")

    @field_validator("also")
    @classmethod
    def _known(cls, also: list[str]) -> list[str]:
        known = sorted(set(entries("logger")) - {"none"})
        for name in also:
            if name not in known:
                raise ValueError(
                    f"expected some of {', '.join(known)}, found {name!r}{suggest(nearest(name, known))}"
                )
        return also

    def chosen(self) -> list["LoggerConfig"]:
        """This one and those of `also`, each once."""
        others = [entries("logger")[name].schema(name=name) for name in dict.fromkeys(self.also)]
        return [
            self,
            *(other for other in others if isinstance(other, LoggerConfig) and other.name != self.name),
        ]


class WandbLogger(LoggerConfig):
    name: Literal["wandb"] = "wandb"
    project: str = Field("emotion", description="W&B project")
    entity: str | None = Field(None, description="W&B user or team; null: your default one")
    mode: Literal["online", "offline"] | None = Field(
        None,
        description="offline: files in the run folder, no network; null: as WANDB_MODE says, else online",
    )
    log_model: bool = Field(False, description="hand best.ckpt to W&B as a model artifact")


class TensorboardLogger(LoggerConfig):
    name: Literal["tensorboard"] = "tensorboard"
