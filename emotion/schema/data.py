"""`data`: a section for each data set, and what all of them have."""

from typing import Any, Literal, get_args

from pydantic import Field, PositiveInt, field_validator

from emotion.registry import Named
from emotion.schema.types import ContentPath, DataPath, NonNegative, Seed, Share

Classes = list[str] | dict[str, list[str]]
Subset = Literal["easy", "challenging", "difficult"]


class DataConfig(Named):
    """What every data set has."""

    root: DataPath = Field(None, description="folder (or csv) of the downloaded data set")
    batch_size: PositiveInt = Field(64, description="images a training step")
    split_seed: Seed = Field(
        0,
        description="seed of hold-outs and folds; apart from `seed`, so that runs with "
        "different seeds are scored on the same images",
    )
    classes: Classes | None = Field(
        None,
        description="[happiness, anger] picks classes, {negative: [anger, fear], positive: [happiness]} merges them; "
        "images of all others are left out; null: the data set's own",
    )
    exclude: ContentPath = Field(
        None, description="csv whose column `id` names images to leave out, such as audit.csv"
    )
    group_by: Literal["duplicate"] | None = Field(
        None, description="duplicate: near duplicates too stay in one part (identical images always do)"
    )
    per_class: PositiveInt | None = Field(
        None,
        description="use only so many images of each class, drawn before the split (study D: 436); an official test "
        "part is scored beside; null: all",
    )
    extra: DataPath = Field(
        None, description="folder of further images, <expression>/<name>, for training only; null: none"
    )
    protocol: Literal["honest", "leaky"] = Field(
        "honest",
        description="leaky: study C's, where classes are filled up with changed copies before the split; to compare "
        "with, and marked wherever its scores show",
    )

    def wanted_classes(self) -> Classes | None:
        """The classes to pick or merge; None for all of the data set's own."""
        return self.classes

    @property
    def shown_name(self) -> str:
        """The name under which scores on this data show: a leaky protocol is part of it."""
        return self.name if self.protocol == "honest" else f"{self.name}_{self.protocol}"

    def reader_options(self) -> dict[str, Any]:
        """The keys that the reader of this data set takes: those it adds to the common ones."""
        return self.model_dump(exclude=set(DataConfig.model_fields))


class DrawnData(DataConfig):
    name: Literal["drawn"] = "drawn"
    count: PositiveInt = Field(2000, description="number of faces")
    size_px: int = Field(48, ge=48, le=224, description="edge of a drawn face in pixels")
    classes: Literal[7, 8] | Classes = Field(  # type: ignore[assignment]
        7,
        description="7 basic expressions, or 8 with contempt; or classes to pick or merge, as for other data",
    )
    imbalance: NonNegative = Field(
        2.0, description="the commonest expression is 1 + this times as frequent as the rarest"
    )
    label_noise: Share = Field(0.03, description="share of labels that are wrong")
    difficulty: Share = Field(0.3, description="0 clear to 1 faint and distorted expressions")
    persons: PositiveInt | None = Field(None, description="number of persons; null: one for every ten faces")
    seed: Seed = Field(0, description="seed of the drawing")

    def wanted_classes(self) -> Classes | None:
        return None if isinstance(self.classes, int) else self.classes

    def reader_options(self) -> dict[str, Any]:
        return {**super().reader_options(), "classes": self._drawn_classes()}

    def _drawn_classes(self) -> int:
        """How many expressions are drawn: all eight where contempt is wanted."""
        if isinstance(self.classes, int):
            return self.classes
        groups = [self.classes] if isinstance(self.classes, list) else self.classes.values()
        return 8 if any("contempt" in names for names in groups) else 7


class Fer2013Data(DataConfig):
    name: Literal["fer2013"] = "fer2013"


class LfwMsData(DataConfig):
    name: Literal["lfw_ms"] = "lfw_ms"
    part: Literal["study", "all"] = Field(
        "study", description="study: the images First_Last_0001.jpg of study C; all: the whole legend"
    )


class AffectNetData(DataConfig):
    name: Literal["affectnet"] = "affectnet"
    variant: Literal[7, 8, 11] = Field(8, description="8 classes; 7: without contempt; 11: all codes")
    split: Literal["official", "pooled_random"] = Field(
        "official", description="pooled_random: both parts pooled, *.jpg only, split at random (study E)"
    )
    crop: Literal["face", "whole"] = Field("face", description="2017: the face box, or the whole picture")
    soft_labels: bool = Field(False, description="AffectNet+: learn from its distributions")
    subset: list[Subset] | None = Field(
        None,
        min_length=1,
        description="AffectNet+: only the images that it calls so, in every part; null: all",
    )

    @field_validator("subset")
    @classmethod
    def _in_one_order(cls, names: list[Subset] | None) -> list[Subset] | None:
        """The same subsets are the same run, however they are written."""
        return names and [name for name in get_args(Subset) if name in names]


class ExpwData(DataConfig):
    name: Literal["expw"] = "expw"


class ExpwCleanedData(DataConfig):
    name: Literal["expw_cleaned"] = "expw_cleaned"


class FerPlusData(DataConfig):
    name: Literal["ferplus"] = "ferplus"
    label_rule: Literal["majority", "probability", "cross_entropy", "multi_target"] = Field(
        "majority",
        description="how the training part's votes become labels (Barsoum et al. 2016); multi_target: the labels of "
        "the original work, but by their shares of the votes with cross-entropy",
    )


class RafDbData(DataConfig):
    name: Literal["raf_db"] = "raf_db"


class CkPlusData(DataConfig):
    name: Literal["ck_plus"] = "ck_plus"
    frames: PositiveInt = Field(1, description="frames at the end of a sequence; CK+48 always has three")
    neutral: bool = Field(False, description="take the first frame of a labelled sequence as neutral")


class JaffeData(DataConfig):
    name: Literal["jaffe"] = "jaffe"


class FolderData(DataConfig):
    name: Literal["folder"] = "folder"


class CsvData(DataConfig):
    name: Literal["csv"] = "csv"
    path: str = Field("path", description="column of the picture's path, relative to the csv's folder")
    label: str | None = Field("label", description="column of the label; null: the class with most votes")
    split: str | None = Field(None, description="column of train, val or test; null: split by us")
    group: str | None = Field(None, description="column of what stays together: a person, a source picture")
    box: list[str] | None = Field(None, description="columns of the face box: x, y, width, height in pixels")
    votes: list[str] | None = Field(None, description="a column of votes for each class: soft labels")
    class_names: list[str] | None = Field(
        None, description="the classes in the order of their numbers; null: the expressions that occur"
    )
