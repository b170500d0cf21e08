"""What each group can choose: the schemas of this project's own choices, and where their builders are."""

from emotion.registry import Group, Named, entries, register
from emotion.schema import data, images, learning, machine, model

_BUILT_IN: dict[str, dict[type[Named], str | None]] = {
    "data": {
        data.DrawnData: "emotion.data.readers.drawn",
        data.Fer2013Data: "emotion.data.readers.fer2013",
        data.LfwMsData: "emotion.data.readers.lfw_ms",
        data.AffectNetData: "emotion.data.readers.affectnet",
        data.ExpwData: "emotion.data.readers.expw",
        data.ExpwCleanedData: "emotion.data.readers.expw_cleaned",
        data.FerPlusData: "emotion.data.readers.ferplus",
        data.RafDbData: "emotion.data.readers.raf_db",
        data.CkPlusData: "emotion.data.readers.ck_plus",
        data.JaffeData: "emotion.data.readers.jaffe",
        data.FolderData: "emotion.data.readers.class_folders",
        data.CsvData: "emotion.data.readers.csv_table",
    },
    "preprocess": {
        images.NoFilter: None,
        images.ClaheFilter: "emotion.data.filters:clahe",
        images.EqualizeFilter: "emotion.data.filters:equalize",
        images.NormalizeFilter: "emotion.data.filters:normalize",
        images.EdgesFilter: "emotion.data.filters:edges",
        images.ThresholdFilter: "emotion.data.filters:threshold",
        images.StandardizeFilter: "emotion.data.filters:standardize",
    },
    "head": {
        model.LinearHead: "emotion.models.heads:linear",
        model.MlpHead: "emotion.models.heads:mlp",
        model.CosineHead: "emotion.models.heads:cosine",
    },
    "augment": {
        images.AugmentNone: None,
        images.AugmentBasic: "emotion.data.augment:Basic",
        images.AugmentTrivial: "emotion.data.libraries:trivial",
        images.AugmentRand: "emotion.data.libraries:rand",
        images.AugmentAlbumentations: "emotion.data.libraries:Albumentations",
    },
    "sampling": {
        images.NaturalSampling: "emotion.data.sampling:Natural",
        images.UndersampleSampling: "emotion.data.sampling:Undersample",
        images.OversampleSampling: "emotion.data.sampling:Oversample",
        images.BalancedSampling: "emotion.data.sampling:balanced",
        images.SquareRootSampling: "emotion.data.sampling:square_root",
    },
    "loss": {
        learning.CrossEntropy: "emotion.models.losses:CrossEntropy",
        learning.Focal: "emotion.models.losses:Focal",
        learning.LogitAdjusted: "emotion.models.losses:logit_adjusted",
        learning.BalancedSoftmax: "emotion.models.losses:balanced_softmax",
        learning.Ldam: "emotion.models.losses:Ldam",
    },
    "optimizer": {
        learning.AdamW: "emotion.models.optimizers:adamw",
        learning.Adam: "emotion.models.optimizers:adam",
        learning.SGD: "emotion.models.optimizers:sgd",
        learning.Adadelta: "emotion.models.optimizers:adadelta",
        learning.RMSprop: "emotion.models.optimizers:rmsprop",
    },
    "schedule": {
        learning.ConstantSchedule: "emotion.models.schedules:constant",
        learning.CosineSchedule: "emotion.models.schedules:cosine",
        learning.CyclicCosineSchedule: "emotion.models.schedules:cyclic_cosine",
        learning.OneCycleSchedule: "emotion.models.schedules:one_cycle",
        learning.PlateauSchedule: "emotion.models.schedules:plateau",
        learning.InverseTimeSchedule: "emotion.models.schedules:inverse_time",
    },
    "logger": {
        machine.NoLogger: None,
        machine.WandbLogger: "emotion.reporting.wandb_view:WandbView",
        machine.TensorboardLogger: "emotion.reporting.tensorboard_view:TensorboardView",
    },
}
for _group, _schemas in _BUILT_IN.items():
    for _schema, _builder in _schemas.items():
        register(_group, _schema.model_fields["name"].default, _schema, _builder)

# groups without a choice
SINGLE: dict[str, type[Group]] = {
    "trainer": learning.TrainerConfig,
    "callbacks": learning.CallbacksConfig,
    "evaluation": learning.EvaluationConfig,
    "machine": machine.MachineConfig,
}

DEFAULTS = {
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


def schema_of(group: str, name: str | None) -> type[Group] | None:
    """The schema that checks `group` when it chooses `name`; None where the name is unknown."""
    if group in SINGLE:
        return SINGLE[group]
    if not isinstance(name, str):
        return model.ModelConfig if group == "model" else None
    if group == "model" and name not in entries("model"):
        return model.ModelConfig
    entry = entries(group).get(name)
    return entry.schema if entry else None
