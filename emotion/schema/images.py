"""`preprocess`, `augment` and `sampling`: what is done to images before a network sees them, and how often it does."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from emotion.registry import Named
from emotion.schema.types import NonNegative, Share


class PreprocessConfig(Named):
    """What every preprocessing has."""

    size_px: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        None, description="edge of the stored square image; null: crop_px, else the data set's own size"
    )
    crop_px: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        None,
        description="before resizing cut the centre of larger images, and pad smaller ones with black, to this edge; "
        "null: the whole image",
    )
    margin: NonNegative = Field(0.0, description="widen the face box by this share of its size on each side")
    statistics: Literal["auto", "training", "pretrained", "unshifted", "unit", "raw"] = Field(
        "auto",
        description="normalisation: mean and deviation of the training part or of the pretrained weights "
        "(auto: those that the weights were trained with, else training), unshifted: their deviation without "
        "subtracting a mean, unit: [0, 1], raw: 0 to 255, or the filter's own values",
    )

    def filter_options(self) -> dict[str, Any]:
        """The keys of the filter: those it adds to the common ones."""
        return self.model_dump(exclude=set(PreprocessConfig.model_fields))


class NoFilter(PreprocessConfig):
    name: Literal["default"] = "default"


class FilterConfig(PreprocessConfig):
    as_published: bool = Field(
        False,
        description="study B's mistake: cut the filter's values to whole numbers, which leaves next to nothing of most",
    )


class ClaheFilter(FilterConfig):
    name: Literal["clahe"] = "clahe"
    clip_limit: Annotated[float, Field(gt=0, le=1)] = Field(
        0.01, description="limit of the contrast, 1 for none (study B: 0.99)"
    )


class EqualizeFilter(FilterConfig):
    name: Literal["equalize"] = "equalize"
    radius_px: PositiveInt | None = Field(
        None,
        description="equalise each pixel within a disk of this radius (study B: 30); null: the whole image",
    )


class NormalizeFilter(FilterConfig):
    name: Literal["normalize"] = "normalize"


class EdgesFilter(FilterConfig):
    name: Literal["edges"] = "edges"
    operator: Literal["prewitt", "scharr", "sobel", "roberts"] = Field(
        "sobel", description="how the gradient is taken, whose magnitude is the image"
    )


class ThresholdFilter(FilterConfig):
    name: Literal["threshold"] = "threshold"
    method: Literal["yen", "isodata", "mean"] = Field(
        "mean", description="what is taken for the threshold of an image"
    )


class StandardizeFilter(FilterConfig):
    name: Literal["standardize"] = "standardize"


class AugmentNone(Named):
    name: Literal["none"] = "none"


class AugmentBasic(Named):
    name: Literal["basic"] = "basic"
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = Field(10.0, description="rotation within ± degrees")
    shift: Share = Field(0.1, description="shift within ± this share of the edge")
    shear_deg: Annotated[float, Field(ge=0, lt=90)] = Field(5.0, description="shear within ± degrees")
    zoom: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="zoom within 1 ± this")
    flip: Share = Field(0.5, description="probability of a left-right flip")
    brightness: Share = Field(0.2, description="brightness by a factor within 1 ± this")
    contrast: Share = Field(0.2, description="contrast by a factor within 1 ± this")
    saturation: Share = Field(
        0.0, description="saturation by a factor within 1 ± this; grey images have none"
    )
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="hue within ± this share of the colour circle; grey images have none"
    )
    erase: Share = Field(0.0, description="probability of erasing a rectangle")
    backend: Literal["auto", "host", "device"] = Field(
        "auto",
        description="where pixels are computed; auto: on a CUDA GPU, with OpenCV on the host elsewhere",
    )


class AugmentTrivial(Named):
    name: Literal["trivial"] = "trivial"
    flip: Share = Field(0.5, description="probability of a left-right flip")


class AugmentRand(Named):
    name: Literal["rand"] = "rand"
    operations: PositiveInt = Field(2, description="operations an image")
    magnitude: Annotated[int, Field(ge=0, le=30)] = Field(9, description="their strength, 0 to 30")
    flip: Share = Field(0.5, description="probability of a left-right flip")


class AugmentAlbumentations(Named):
    name: Literal["albumentations"] = "albumentations"
    transforms: list[dict[str, Any]] = Field(
        [{"name": "HorizontalFlip", "p": 0.5}],
        description="albumentations' transforms in order: the name of each beside its arguments",
    )


class NaturalSampling(Named):
    name: Literal["natural"] = "natural"


class UndersampleSampling(Named):
    name: Literal["undersample"] = "undersample"
    per_class: PositiveInt | None = Field(
        None, description="at most so many images of each class an epoch; null: as many as the rarest one has"
    )


class OversampleSampling(Named):
    name: Literal["oversample"] = "oversample"
    augmented: Literal["all", "copies"] = Field(
        "all",
        description="which draws are augmented: all, or only the copies that fill up rare classes (study C, honest)",
    )


class BalancedSampling(Named):
    name: Literal["balanced"] = "balanced"


class SquareRootSampling(Named):
    name: Literal["square_root"] = "square_root"
