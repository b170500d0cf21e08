"""`loss`, `optimizer`, `schedule`, `trainer`, `callbacks` and `evaluation`: how a network learns and is judged."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from emotion.registry import Group, Named
from emotion.schema.types import Fraction, NonNegative, Positive, Share


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
