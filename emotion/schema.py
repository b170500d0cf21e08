"""The configuration: every key, its type, its default and what it means. Imports no torch.

`validate` turns the composed plain configuration into a `RunConfig` or raises one `ConfigError` that lists every
problem. The files in `conf/` hold the same defaults, so that Hydra can show them; a test compares the two.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo

from emotion.errors import ConfigError
from emotion.network_names import network_names
from emotion.registry import Group, Named, entries, register
from emotion.schema_errors import leaves, meant, nearest, problems_of, suggest

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class PathKey:
    """Marks a key whose value is a path: quoted before Hydra sees it, expanded, and never part of the identity.

    `stands_for` says what stands in the identity instead: "data" (the fingerprint of the prepared data), "content"
    (a digest of the file) or "run" (the identity of the finished run in that folder).
    """

    def __init__(self, stands_for: Literal["data", "content", "run", "nothing"]) -> None:
        self.stands_for = stands_for


DataPath = Annotated[Path | None, PathKey("data")]
ContentPath = Annotated[Path | None, PathKey("content")]
RunPath = Annotated[
    Path | None, PathKey("run"), AfterValidator(lambda path: path and path.expanduser().resolve())
]
MachinePath = Annotated[Path, PathKey("nothing")]
OptionalMachinePath = Annotated[Path | None, PathKey("nothing")]
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


class ModelConfig(Named):
    name: str = Field("minivgg", description="a network known to timm or registered with it by this project")
    pretrained: bool = Field(False, description="start from timm's published weights")
    weights: ContentPath = Field(None, description="start from this local file (.pt, .pth, .safetensors)")
    init_from: RunPath = Field(
        None, description="start from the best weights of this finished run (its folder), of the same network"
    )
    freeze: list[str] = Field(
        default_factory=list,
        description="layers that aren't trained, by the start of their name as `emotion model` prints it: "
        "backbone, backbone.layer1 …; their BatchNorm keeps its statistics",
    )
    freeze_epochs: PositiveInt | None = Field(
        None, description="train the frozen layers too after so many epochs; null: never"
    )
    l2: NonNegative = Field(0.0, description="adds this · Σw² over the kernels of l2_layers to the loss")
    l2_layers: list[str] = Field(
        ["backbone", "head"], min_length=1, description="the layers of l2, named as in freeze"
    )
    max_norm: Positive | None = Field(
        None, description="longest weight vector of a unit in max_norm_layers, after each step; null: any"
    )
    max_norm_layers: list[str] = Field(
        ["backbone", "head"], min_length=1, description="the layers of max_norm, named as in freeze"
    )
    input_size: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        None,
        description="edge in pixels of what the network sees; null: the larger of the stored size and the "
        "network's minimum",
    )
    in_channels: Literal[1, 3] | None = Field(None, description="null: as the network was published")
    drop_rate: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="dropout inside the backbone")
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="stochastic depth, where the network has it"
    )
    args: dict[str, Any] = Field(default_factory=dict, description="further arguments of timm.create_model")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known = network_names()
        if name.partition(".")[0] not in known:  # timm's tag of weights stands behind a point
            hint = suggest(nearest(name, known, n=3))
            raise ValueError(f"expected a network that timm or this project knows, found {name!r}{hint}")
        return name


class HeadConfig(Named):
    pool: Literal["network", "flatten"] = Field(
        "network",
        description="network: the features as the network pools them; flatten: all values of its last maps",
    )
    init: Literal["default", "zero", "keras"] = Field(
        "default",
        description="zero: the last layer starts at 0, so fine-tuning starts without a random push; keras: weights "
        "and BatchNorm as Keras has them",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="dropout before the last layer")


class LinearHead(HeadConfig):
    name: Literal["linear"] = "linear"


class MlpHead(HeadConfig):
    name: Literal["mlp"] = "mlp"
    hidden: list[PositiveInt] = Field([256], min_length=1, description="units of each hidden layer")
    activation: Literal["relu", "sigmoid", "gelu", "leaky_relu", "none"] = Field(
        "relu", description="after each hidden layer"
    )
    batch_norm: bool = Field(False, description="BatchNorm after each hidden layer's activation")
    hidden_dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="dropout between the hidden layers; null: as head.dropout"
    )


class CosineHead(HeadConfig):
    name: Literal["cosine"] = "cosine"
    init: Literal["default"] = Field("default", description="a direction can't be zero")
    scale: Positive = Field(
        30.0, description="logits are this times the cosine of features and class directions"
    )


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


class LossConfig(Named):
    """What every loss has."""

    class_weights: Literal["none", "balanced", "effective"] = Field(
        "none",
        description="balanced: inverse class frequency of the training part, mean 1 over its images; effective: "
        "inverse effective number of images (Cui et al. 2019), mean 1 over the classes",
    )
    effective_beta: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999, description="of class_weights=effective: 0 no weights, towards 1 inverse class frequency"
    )
    weights_from_epoch: Annotated[int, Field(ge=0)] = Field(
        0,
        description="class_weights apply from this epoch on: deferred re-weighting (Cao et al. 2019: at 80 %)",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the target spread evenly over all classes"
    )


class CrossEntropy(LossConfig):
    name: Literal["cross_entropy"] = "cross_entropy"


class Focal(LossConfig):
    name: Literal["focal"] = "focal"
    gamma: NonNegative = Field(2.0, description="focusing exponent; 0 is cross-entropy")


class LogitAdjusted(LossConfig):
    name: Literal["logit_adjusted"] = "logit_adjusted"
    tau: NonNegative = Field(
        1.0, description="share of the log class frequency that training adds to the logits"
    )


class BalancedSoftmax(LossConfig):
    name: Literal["balanced_softmax"] = "balanced_softmax"


class Ldam(LossConfig):
    name: Literal["ldam"] = "ldam"
    max_margin: NonNegative = Field(
        0.5,
        description="margin of the rarest class in logits, the others' going with n_k ** -1/4 (as published: 15, that "
        "is 0.5 times the scale of head=cosine)",
    )


class OptimizerConfig(Named):
    lr: Positive = Field(1e-3, description="learning rate")
    head_lr: Positive | None = Field(None, description="learning rate of the head; null: lr")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="each backbone layer's learning rate is so many times that of the layer above it"
    )
    weight_decay: NonNegative = Field(0.0, description="not applied to biases and normalisation layers")


class AdamW(OptimizerConfig):
    name: Literal["adamw"] = "adamw"
    weight_decay: NonNegative = Field(0.01, description="not applied to biases and normalisation layers")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="decay of the two running moments")
    eps: Positive = Field(1e-8, description="added to the denominator")


class Adam(OptimizerConfig):
    name: Literal["adam"] = "adam"
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.999), description="decay of the two running moments")
    eps: Positive = Field(1e-8, description="added to the denominator")


class SGD(OptimizerConfig):
    name: Literal["sgd"] = "sgd"
    lr: Positive = Field(0.1, description="learning rate")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum")
    nesterov: bool = Field(True, description="Nesterov's momentum")


class Adadelta(OptimizerConfig):
    name: Literal["adadelta"] = "adadelta"
    lr: Positive = Field(1.0, description="learning rate")
    rho: Fraction = Field(0.9, description="decay of the running averages (Keras: 0.95)")
    eps: Positive = Field(1e-6, description="added to the denominator")


class RMSprop(OptimizerConfig):
    name: Literal["rmsprop"] = "rmsprop"
    rho: Fraction = Field(0.9, description="decay of the running mean of squared gradients")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="momentum")
    eps: Positive = Field(1e-8, description="added to the denominator")


class ConstantSchedule(Named):
    name: Literal["constant"] = "constant"


class CosineSchedule(Named):
    name: Literal["cosine"] = "cosine"
    warmup_epochs: NonNegative = Field(1.0, description="epochs of linear warm-up from 1 % of lr")
    final: Share = Field(0.0, description="learning rate at the end, as a share of lr")


class CyclicCosineSchedule(Named):
    name: Literal["cyclic_cosine"] = "cyclic_cosine"
    cycles: Annotated[int, Field(ge=2)] = Field(
        5,
        description="so many cosines from lr to final; the weights at the end of each are kept, for `emotion ensemble`",
    )
    final: Share = Field(0.0, description="learning rate at the end of a cycle, as a share of lr")


class OneCycleSchedule(Named):
    name: Literal["one_cycle"] = "one_cycle"
    rise: Fraction = Field(0.3, description="share of the steps in which the learning rate rises")
    start: Fraction = Field(0.04, description="learning rate at the start, as a share of lr")
    final: Share = Field(0.0001, description="learning rate at the end, as a share of lr")


class PlateauSchedule(Named):
    name: Literal["plateau"] = "plateau"
    factor: Fraction = Field(0.5, description="multiplies the learning rate")
    patience: Annotated[int, Field(ge=0)] = Field(
        3,
        description="so many epochs may pass without a better trainer.monitor before the learning rate is lowered",
    )


class InverseTimeSchedule(Named):
    name: Literal["inverse_time"] = "inverse_time"
    decay: NonNegative = Field(1e-6, description="lr / (1 + decay · step)")


class TrainerConfig(Group):
    max_epochs: PositiveInt = Field(20, description="passes over the training part")
    limit_train_batches: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="only so many training batches an epoch, or this share of them"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="auto: bf16 on a GPU that has it and on a CPU where a short measurement shows that it is faster, "
        "else fp32",
    )
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="compile the network (torch.compile): minutes before the first epoch, faster steps after it. auto: "
        "on a CUDA GPU where a measurement shows that the run is done sooner",
    )
    monitor: Literal["accuracy", "balanced_accuracy", "f1_macro", "loss"] = Field(
        "accuracy", description="validation metric that chooses the best epoch"
    )
    gradient_clip: Positive | None = Field(None, description="largest norm of the gradient")
    accumulate: PositiveInt = Field(1, description="batches whose gradients are added up before a step")
    mixup: NonNegative = Field(
        0.0, description="blend pairs of images and their targets, by shares from Beta(this, this); 0: off"
    )
    cutmix: NonNegative = Field(
        0.0,
        description="paste a rectangle of another image, by shares from Beta(this, this); 0: off. With mixup: one of "
        "the two a batch",
    )


class EarlyStopping(Group):
    patience: PositiveInt | None = Field(
        None, description="stop after so many epochs without a better trainer.monitor; null: never"
    )
    min_delta: NonNegative = Field(0.0, description="smallest change that counts as better")


class CallbacksConfig(Group):
    early_stopping: EarlyStopping = Field(
        EarlyStopping(), description="stop when validation no longer improves"
    )


class EvaluationConfig(Group):
    tta: Literal["none", "flip"] = Field(
        "none", description="flip: average over the image and its mirror image"
    )
    test: bool = Field(True, description="score the test part once, at the end (not part of the identity)")
    batch_size: PositiveInt = Field(256, description="images at a time (not part of the identity)")


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


_BUILT_IN: dict[str, dict[type[Named], str | None]] = {
    "data": {
        DrawnData: "emotion.data.readers.drawn",
        Fer2013Data: "emotion.data.readers.fer2013",
        LfwMsData: "emotion.data.readers.lfw_ms",
        AffectNetData: "emotion.data.readers.affectnet",
        ExpwData: "emotion.data.readers.expw",
        ExpwCleanedData: "emotion.data.readers.expw_cleaned",
        FerPlusData: "emotion.data.readers.ferplus",
        RafDbData: "emotion.data.readers.raf_db",
        CkPlusData: "emotion.data.readers.ck_plus",
        JaffeData: "emotion.data.readers.jaffe",
        FolderData: "emotion.data.readers.class_folders",
        CsvData: "emotion.data.readers.csv_table",
    },
    "preprocess": {
        NoFilter: None,
        ClaheFilter: "emotion.data.filters:clahe",
        EqualizeFilter: "emotion.data.filters:equalize",
        NormalizeFilter: "emotion.data.filters:normalize",
        EdgesFilter: "emotion.data.filters:edges",
        ThresholdFilter: "emotion.data.filters:threshold",
        StandardizeFilter: "emotion.data.filters:standardize",
    },
    "head": {
        LinearHead: "emotion.models.heads:linear",
        MlpHead: "emotion.models.heads:mlp",
        CosineHead: "emotion.models.heads:cosine",
    },
    "augment": {
        AugmentNone: None,
        AugmentBasic: "emotion.data.augment:Basic",
        AugmentTrivial: "emotion.data.libraries:trivial",
        AugmentRand: "emotion.data.libraries:rand",
        AugmentAlbumentations: "emotion.data.libraries:Albumentations",
    },
    "sampling": {
        NaturalSampling: "emotion.data.sampling:Natural",
        UndersampleSampling: "emotion.data.sampling:Undersample",
        OversampleSampling: "emotion.data.sampling:Oversample",
        BalancedSampling: "emotion.data.sampling:balanced",
        SquareRootSampling: "emotion.data.sampling:square_root",
    },
    "loss": {
        CrossEntropy: "emotion.models.losses:CrossEntropy",
        Focal: "emotion.models.losses:Focal",
        LogitAdjusted: "emotion.models.losses:logit_adjusted",
        BalancedSoftmax: "emotion.models.losses:balanced_softmax",
        Ldam: "emotion.models.losses:Ldam",
    },
    "optimizer": {
        AdamW: "emotion.models.optimizers:adamw",
        Adam: "emotion.models.optimizers:adam",
        SGD: "emotion.models.optimizers:sgd",
        Adadelta: "emotion.models.optimizers:adadelta",
        RMSprop: "emotion.models.optimizers:rmsprop",
    },
    "schedule": {
        ConstantSchedule: "emotion.models.schedules:constant",
        CosineSchedule: "emotion.models.schedules:cosine",
        CyclicCosineSchedule: "emotion.models.schedules:cyclic_cosine",
        OneCycleSchedule: "emotion.models.schedules:one_cycle",
        PlateauSchedule: "emotion.models.schedules:plateau",
        InverseTimeSchedule: "emotion.models.schedules:inverse_time",
    },
    "logger": {
        NoLogger: None,
        WandbLogger: "emotion.reporting.wandb_view:WandbView",
        TensorboardLogger: "emotion.reporting.tensorboard_view:TensorboardView",
    },
}
for _group, _schemas in _BUILT_IN.items():
    for _schema, _builder in _schemas.items():
        register(_group, _schema.model_fields["name"].default, _schema, _builder)

_SINGLE: dict[str, type[Group]] = {
    "trainer": TrainerConfig,
    "callbacks": CallbacksConfig,
    "evaluation": EvaluationConfig,
    "machine": MachineConfig,
}


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


def schema_of(group: str, name: str | None) -> type[Group] | None:
    """The schema that checks `group` when it chooses `name`; None where the name is unknown."""
    if group in _SINGLE:
        return _SINGLE[group]
    if not isinstance(name, str):
        return ModelConfig if group == "model" else None
    if group == "model" and name not in entries("model"):
        return ModelConfig
    entry = entries(group).get(name)
    return entry.schema if entry else None


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
    if group in _SINGLE:
        return [_SINGLE[group]]
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
        name = section.get("name", _DEFAULTS.get(group)) if group not in _SINGLE else None
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


_DEFAULTS = {
    "data": "drawn",
    "preprocess": "default",
    "model": "minivgg",
    "head": "linear",
    "augment": "none",
    "sampling": "natural",
    "loss": "cross_entropy",
    "optimizer": "adamw",
    "schedule": "cosine",
    "logger": "none",
}


def path_keys() -> frozenset[str]:
    """The dotted names of all keys whose value is a path."""
    return frozenset(key for key, field in dotted_keys() if path_key(field))


def path_key(field: FieldInfo) -> PathKey | None:
    """The mark of a path-valued field, None for every other field."""
    marks = [mark for mark in field.metadata if isinstance(mark, PathKey)]
    return marks[0] if marks else None


def json_schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, for editors: a group is the union of its registered names."""
    fields: dict[str, Any] = {key: (field.annotation, field) for key, field in TopLevel.model_fields.items()}
    for group in GROUPS:
        if group in _SINGLE:
            fields[group] = (_SINGLE[group] | None, None)
            continue
        schemas = [entry.schema for entry in entries(group).values()] or [ModelConfig]
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
