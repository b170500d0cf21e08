import json
import subprocess
import sys
from typing import Literal

import pytest
import yaml
from pydantic import ValidationError, model_validator

from emotion import registry, schema
from emotion.errors import ConfigError
from emotion.launch import choices, compose, conf_dir, prepare
from emotion.registry import entries
from emotion.schema.errors import problems_of
from emotion.schema.learning import LossConfig
from emotion.schema.model import ModelConfig

NAMED = [group for group in schema.GROUPS if entries(group) and group != "model"]


def problems(plain: dict) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        schema.validate(plain)
    return str(caught.value).splitlines()[1:]


def test_empty_is_the_defaults() -> None:
    """Those of conf/train.yaml, which say it once more."""
    config = schema.validate({})
    assert (config.data.name, config.model.name, config.fold) == ("drawn", "minivgg", None)
    assert config.plain() == compose([]).plain()


def test_seed_zero_is_a_seed() -> None:
    assert schema.validate({"seed": 0}).seed == 0
    assert problems({"seed": -1}) == ["  seed: expected at least 0, found -1"]


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        (
            {"loss": {"name": "cross_entropy", "gamma": 2}},
            "loss.gamma: unknown key of loss=cross_entropy; it belongs to loss=focal",
        ),
        ({"modle": 1}, "modle: unknown key; did you mean model?"),
        (
            {"trainer": {"max_epoch": 1}},
            "trainer.max_epoch: unknown key of trainer; did you mean max_epochs?",
        ),
        ({"trainer": {"precision": "bf61"}}, "found 'bf61'; did you mean bf16?"),
        ({"trainer": {"max_epochs": "x"}}, "trainer.max_epochs: expected a whole number, found 'x'"),
        ({"trainer": {"max_epochs": 0}}, "trainer.max_epochs: expected more than 0, found 0"),
        ({"model": {"name": "efficientnetb0"}}, "found 'efficientnetb0'; did you mean efficientnet_b0"),
        (
            {"sampling": {"name": "oversampl"}},
            "sampling.name: expected one of natural, undersample, oversample, balanced, square_root, found "
            "'oversampl'; did you mean oversample?",
        ),
        ({"fold": 7}, "fold: expected null or 0 to 3 (folds=4), found 7"),
        (
            {"loss": {"weights_from_epoch": 20, "class_weights": "balanced"}, "trainer": {"max_epochs": 20}},
            "loss.weights_from_epoch: expected less than trainer.max_epochs=20, found 20",
        ),
        (
            {"model": {"freeze": ["backbone"], "freeze_epochs": 9}, "trainer": {"max_epochs": 9}},
            "model.freeze_epochs: expected less than trainer.max_epochs=9, or null for layers that stay frozen, "
            "found 9",
        ),
        (
            {"callbacks": {"early_stopping": {"patienc": 1}}},
            "callbacks.early_stopping.patienc: unknown key of callbacks; did you mean patience?",
        ),
        (
            {"machine": {"workers": "many"}},
            "machine.workers: expected one of 'auto' or a whole number, found 'many'",
        ),
        ({"optimizer": {"name": "adam", "lr": float("nan")}}, "optimizer.lr"),
        ({"data": 3}, "data: expected keys and values, found 3"),
        ({"model": {"pretrained": True, "weights": "x.pt"}}, "choose one of the two"),
        (
            {"model": {"init_from": "run", "weights": "x.pt"}},
            "model.init_from: expected nothing beside model.weights",
        ),
        (
            {"model": {"freeze_epochs": 2}},
            "model.freeze_epochs: expected null where nothing is frozen, found 2",
        ),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas: expected 2 values, found [0.9]"),
        ({"optimizer": {"betas": []}}, "optimizer.betas: expected 2 values, found []"),
        ({"optimizer": {"betas": 0.9}}, "optimizer.betas: expected 2 values, found 0.9"),
        (
            {"optimizer": {"betas": [0.9, 0.99, 0.999]}},
            "optimizer.betas: expected 2 values, found [0.9, 0.99, 0.999]",
        ),
        ({"optimizer": {"betas": [0.9, 2]}}, "optimizer.betas[1]: expected less than 1.0, found 2"),
        (
            {"head": {"name": "mlp", "hidden": []}},
            "head.hidden: expected a list of at least 1, found []",
        ),
    ],
)
def test_one_problem_one_line(plain: dict, said: str) -> None:
    found = problems(plain)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    ("plain", "meant"),
    [
        ({"lr": 0.1}, "lr: unknown key; did you mean optimizer.lr?"),
        (
            {"batch_size": 32},
            "batch_size: unknown key; did you mean data.batch_size or evaluation.batch_size?",
        ),
        ({"max_epochs": 5}, "max_epochs: unknown key; did you mean trainer.max_epochs?"),
        ({"root": "/x"}, "root: unknown key; did you mean data.root?"),
        ({"lrr": 1}, "lrr: unknown key; did you mean optimizer.lr?"),
        ({"epochs": 3}, "epochs: unknown key; did you mean trainer.max_epochs?"),
        ({"flod": 1}, "flod: unknown key; did you mean fold?"),
        ({"modle": {"name": "resnet18"}}, "modle.name: unknown key; did you mean model?"),
        ({"train": {"max_epochs": 5}}, "train.max_epochs: unknown key; did you mean trainer.max_epochs?"),
        ({"zzz": 1}, "zzz: unknown key (known are seed, fold, "),
        ({"model": {"lr": 1}}, "model.lr: unknown key of model=minivgg; did you mean optimizer.lr? (it has "),
        (
            {"model": {"lrr": 1}},
            "model.lrr: unknown key of model=minivgg; did you mean optimizer.lr? (it has ",
        ),
        (
            {"callbacks": {"patience": 1}},
            "callbacks.patience: unknown key of callbacks; did you mean callbacks.early_stopping.patience or "
            "schedule.patience? (it has early_stopping)",
        ),
        ({"trainer": {"name": "long"}}, "trainer.name: unknown key of trainer (it has max_epochs, "),
    ],
)
def test_a_wrong_key_is_looked_for_in_all_groups(plain: dict, meant: str) -> None:
    (found,) = problems(plain)
    assert found.strip().startswith(meant)


@pytest.mark.parametrize("name", ["fer2013", "drawn"])
def test_of_a_mapping_only_what_is_wrong_inside_it_is_said(name: str) -> None:
    data = {"name": name, "classes": {"bad": "anger", "good": ["happiness", 3]}}
    assert problems({"data": data}) == [
        "  data.classes.bad: expected a list, found 'anger'",
        "  data.classes.good[1]: expected text, found 3",
    ]
    (found,) = problems({"data": {"name": name, "classes": "anger"}})
    assert found.endswith("a list or keys and values, found 'anger'")


def test_keys_that_do_not_go_together_are_a_problem_of_their_section() -> None:
    class Odd(LossConfig):
        name: str = "odd"

        @model_validator(mode="after")
        def _refuse(self) -> "Odd":
            raise ValueError("expected even, found odd")

    with pytest.raises(ValidationError) as caught:
        Odd.model_validate({})
    assert list(problems_of(caught.value, "loss", "odd", Odd, [])) == ["loss: expected even, found odd"]


def test_imbalance_methods_can_be_swept_together() -> None:
    """Every sampling with every loss, its weights, smoothing and mixing: no key belongs to one of them alone."""
    common = {"label_smoothing": 0.1, "weights_from_epoch": 2, "effective_beta": 0.99}
    for sampling in entries("sampling"):
        for loss in entries("loss"):
            for weights in ("none", "balanced", "effective"):
                config = schema.validate(
                    {
                        "sampling": {"name": sampling},
                        "loss": {"name": loss, "class_weights": weights, **common},
                        "trainer": {"mixup": 0.2, "cutmix": 1.0},
                    }
                )
                assert (config.sampling.name, config.loss.name) == (sampling, loss)


def test_all_problems_at_once() -> None:
    found = problems(
        {"loss": {"gamma": 2}, "modle": 1, "trainer": {"max_epoch": 1, "max_epochs": "x"}, "fold": 9}
    )
    assert [line.split(":")[0].strip() for line in found] == [
        "loss.gamma",
        "trainer.max_epochs",
        "trainer.max_epoch",
        "modle",
        "fold",
    ]


def test_checking_imports_no_torch() -> None:
    code = (
        "import sys; from emotion.launch import compose; "
        "compose(['model=resnet34']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def presets(group: str) -> set[str]:
    """The files of a group that set another file's keys: `defaults: [basic, _self_]`."""
    files = (conf_dir() / group).glob("*.yaml")
    return {file.stem for file in files if "\n  - _self_\n" in file.read_text()}


@pytest.mark.parametrize("group", [g for g in schema.GROUPS if g != "model"])
def test_conf_holds_the_schema_s_defaults(group: str) -> None:
    for name in set(choices(group)) - presets(group):
        compared = schema.schema_of(group, name)
        assert compared is not None, f"conf/{group}/{name}.yaml has no schema"
        written = compose([f"{group}={name}"]).plain()[group]
        assert written == json.loads(compared().model_dump_json())


@pytest.mark.parametrize("group", NAMED)
def test_every_registered_name_has_a_file(group: str) -> None:
    assert set(choices(group)) - presets(group) == set(entries(group))


@pytest.mark.parametrize(
    "choice", [f"{group}={name}" for group in (*schema.GROUPS, "experiment") for name in choices(group)]
)
def test_every_file_composes_and_validates(choice: str) -> None:
    group, name = choice.split("=")
    config = compose([choice])
    if group not in ("model", "experiment") and group in NAMED:
        chosen = getattr(config, group).name
        assert chosen == name if name not in presets(group) else chosen in entries(group)


@pytest.mark.parametrize("path", [*conf_dir().rglob("*.yaml")], ids=lambda p: str(p.relative_to(conf_dir())))
def test_every_key_is_commented(path) -> None:
    """Once, in its file: a key without a comment is a choice's name or a section."""
    group = path.parent.name
    text = path.read_text()
    if group == "experiment" or path.parent.parent.name == "hydra" or path.stem in presets(group):
        only_a_name = text.partition("\n  - _self_\n")[2].count("\n") == 1
        assert text.startswith("#") or only_a_name
        return
    for line in text.splitlines():
        key, _, value = line.strip().partition(":")
        if (
            value.strip()
            and key not in ("name", "defaults", "dir", "subdir", "output_subdir")
            and not line.strip().startswith(("-", "#"))
        ):
            assert "#" in line, line


def test_conf_has_no_key_twice() -> None:
    for path in conf_dir().rglob("*.yaml"):
        keys = [line.split(":")[0] for line in path.read_text().splitlines() if line and line[0].isalpha()]
        assert len(keys) == len(set(keys)), path


def test_json_schema_accepts_conf_and_refuses_a_typo() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    checked = schema.json_schema()
    jsonschema.validate({"model": {"name": "minivgg"}, "seed": 3}, checked)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"trainer": {"max_epoch": 3}}, checked)


def test_json_schema_knows_a_plugin_s_network_beside_timm_s(monkeypatch: pytest.MonkeyPatch) -> None:
    class LitNet(ModelConfig):
        name: Literal["litnet"] = "litnet"
        depth: int = 3

    jsonschema = pytest.importorskip("jsonschema")
    monkeypatch.setitem(registry._entries, "model", {"litnet": registry.Entry(LitNet, None)})
    checked = schema.json_schema()
    jsonschema.validate({"model": {"name": "resnet18"}}, checked)
    jsonschema.validate({"model": {"name": "litnet", "depth": 4}}, checked)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"model": {"name": "resnet18", "depth": 4}}, checked)


def test_json_schema_names_every_group() -> None:
    assert set(schema.GROUPS) <= set(schema.json_schema()["properties"])


@pytest.mark.parametrize(
    "path",
    [
        "plain",
        "with space",
        "par(en)theses",
        "com,ma",
        "equals=sign",
        "br[ack]ets{}",
        "Überraschung 笑",
        "it's",
        'quo"te',
        "back\\slash",
        "ends\\",
        "doll${ar}",
        "tilde~inside",
        "a: b",
        "#hash",
    ],
)
def test_paths_survive_hydra(path: str) -> None:
    given = f"/data/{path}/fer2013"
    assert str(compose(["data=fer2013", f"data.root={given}"]).data.root) == given


@pytest.mark.parametrize("word", ["Gefühl", "эмоция", "表情", "très content"])
def test_letters_of_every_language_survive_hydra(word: str) -> None:
    line = [
        "data=csv",
        "data.root=/x",
        f"data.label={word}",
        f"data.class_names=[{word}, sad]",
        f"name={word}",
    ]
    found = compose(line)
    assert (found.data.label, found.data.class_names, found.name) == (word, [word, "sad"], word)
    assert prepare(prepare(line)) == prepare(line)
    assert prepare([f"data.label={word},plain"], multirun=True) == [f"++data.label='{word}',plain"]
    assert prepare([f"data.label='{word}'"]) == [f"++data.label='{word}'"]


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/zoë (x)")
    assert str(compose(["data.root=~/a,b"]).data.root) == "/home/zoë (x)/a,b"
    assert str(compose(["data.root='~/a b'"]).data.root) == "/home/zoë (x)/a b"  # quoted for Hydra


def test_paths_in_a_sweep_are_parts_unless_they_are_one(tmp_path) -> None:
    assert prepare(["data.root=a b,c"], multirun=True) == ["++data.root='a b','c'"]
    (tmp_path / "a,b").mkdir()
    assert prepare([f"data.root={tmp_path}/a,b"], multirun=True) == [f"++data.root='{tmp_path}/a,b'"]


def test_a_model_without_a_file_is_its_name() -> None:
    assert compose(["model=resnet34", "model.drop_rate=0.1"]).model.name == "resnet34"
    assert "resnet34" not in choices("model")


def test_an_unknown_choice_is_a_problem_among_others() -> None:
    with pytest.raises(ConfigError, match="loss.name: .*did you mean cross_entropy") as caught:
        compose(["loss=crossentropy", "trainer.max_epoch=3"])
    assert "trainer.max_epoch" in str(caught.value)


def test_networks_are_found_without_importing_timm() -> None:
    code = (
        "import sys; from emotion.network_names import network_names as n; a = n(); assert 'timm' not in sys.modules; "
        "import timm, emotion.models.networks; missing = set(timm.list_models()) - a; assert not missing, missing"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_names_every_key() -> None:
    from emotion.help import text

    said = text()
    for group in schema.GROUPS:
        for key in yaml.safe_load((conf_dir() / group / f"{choices(group)[0]}.yaml").read_text()):
            if key not in ("name", "early_stopping", "defaults"):
                assert f"{group}.{key}=" in said
    assert max(map(len, said.splitlines())) <= 160


def test_the_committed_json_schema_is_current() -> None:
    """Made by `emotion schema conf/schema.json`."""
    assert json.loads((conf_dir() / "schema.json").read_text()) == schema.json_schema()


def test_the_last_choice_of_a_group_wins() -> None:
    assert compose(["model=resnet34", "model=resnet18"]).model.name == "resnet18"
    assert compose(["model=resnet18", "model=resnet34"]).model.name == "resnet34"


def test_an_experiment_s_keys_go_with_the_choice_they_belong_to() -> None:
    assert compose(["experiment=demo", "augment=none"]).augment.name == "none"
    kept = compose(["experiment=demo", "model=resnet18"])
    assert kept.trainer.max_epochs == compose(["experiment=demo"]).trainer.max_epochs
    with pytest.raises(ConfigError, match="augment.rotate_deg"):
        compose(["experiment=demo", "augment=none", "augment.rotate_deg=3"])


def test_a_typed_file_s_own_strengths_go_before_an_experiment_s() -> None:
    """`strong` builds on `basic`, whose keys demo sets; a choice that says nothing of a key leaves demo's."""
    strong, demo, found = (
        compose(line).augment
        for line in (["augment=strong"], ["experiment=demo"], ["experiment=demo", "augment=strong"])
    )
    assert found == strong
    assert strong != demo
    assert compose(["experiment=demo", "augment=basic"]).augment == demo
    assert compose(["experiment=demo", "augment=strong", "augment.zoom=0.1"]).augment.zoom == 0.1
    line = ["experiment=fer2013_efficientnet_lite0", "data.root=/x", "model=resnet18"]
    assert compose(line).model.pretrained  # resnet18's file sets no more than its name


def test_an_experiment_s_learning_rates_are_of_its_optimizer() -> None:
    line = ["experiment=fer2013_efficientnet_lite0", "data.root=/x"]
    assert compose(line).optimizer.head_lr == 1e-2
    assert compose([*line, "optimizer=adamw"]).optimizer == compose(line).optimizer
    for name in ("sgd", "adadelta"):
        assert compose([*line, f"optimizer={name}"]).optimizer == compose([f"optimizer={name}"]).optimizer
    typed = compose([*line, "optimizer=sgd", "optimizer.lr=0.2"]).optimizer
    assert (typed.lr, typed.head_lr) == (0.2, None)


def test_preparing_twice_is_preparing_once() -> None:
    """A sweep's overrides pass through twice."""
    for typed in (
        ["experiment=fer2013_efficientnet_lite0", "optimizer=sgd"],
        ["experiment=demo", "augment=none", "seed=1"],
        ["experiment=demo", "augment=strong", "augment.rotate_deg=3"],
    ):
        once = prepare(typed)
        assert prepare(once) == once


def test_a_key_of_a_user_s_own_pluses_goes_before_a_file_s() -> None:
    for pluses in ("", "+", "++"):
        line = ["experiment=demo", "augment=strong", f"{pluses}augment.rotate_deg=3"]
        assert compose(line).augment.rotate_deg == 3


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "resnet50"])
def test_a_network_may_carry_timm_s_tag_of_weights(name: str) -> None:
    assert compose([f"model={name}"]).model.name == name


def test_a_list_is_no_network() -> None:
    with pytest.raises(ConfigError, match="model.name"):
        compose(["model=[resnet18,resnet50]"])


def test_an_earlier_run_is_named_for_good(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`runs/latest` means another run as soon as the next one is done."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").mkdir()
    (tmp_path / "latest").symlink_to("first")
    assert compose(["model.init_from=latest"]).model.init_from == tmp_path / "first"


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="data.root: expected a value, found nothing"):
        compose(["data.root="])


def test_nobody_s_home_is_a_folder_s_name() -> None:
    assert str(compose(["data.root=~no_such_user/x"]).data.root) == "~no_such_user/x"
