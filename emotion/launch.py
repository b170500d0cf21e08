"""From what was typed to a checked configuration. Imports hydra and the schema, no torch."""

import copy
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from emotion import schema
from emotion.errors import ConfigError, EmotionError
from emotion.registry import entries
from emotion.schema.choices import DEFAULTS
from emotion.training.environment import TYPED

CONFIG_NAME = "train"
_WORDS = re.compile(r"""'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|(\s*)([^,\[\]{}():'"]*[^,\[\]{}():'"\s])""")
_CONFIG_DIR = ("--config-dir", "-cd")
_QUOTED_KEYS = frozenset({"name"})  # free text, as hard on Hydra's grammar as a path


def conf_dir() -> Path:
    """The folder of configuration groups: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).parent
    beside = package.parent / "conf"
    return beside if (beside / f"{CONFIG_NAME}.yaml").is_file() else package / "conf"


@cache
def choices(group: str, *more: Path) -> tuple[str, ...]:
    """The options of a group that have a file, here and in `more`. A file `_x.yaml` is a part of others."""
    files = [file for folder in (conf_dir(), *more) for file in (folder / group).glob("*.yaml")]
    return tuple(sorted({file.stem for file in files if not file.stem.startswith("_")}))


def prepare(arguments: Sequence[str], multirun: bool = False, folders: Sequence[Path] = ()) -> list[str]:
    """Rewrite overrides so that Hydra passes on everything that a user may reasonably type.

    Values of path keys are expanded (`~`) and quoted, words with letters beyond ASCII, which Hydra's grammar refuses,
    are quoted; `group=X` without a file becomes `group.name=X`; a dotted key is always set, so that the schema, which
    knows better what is wrong with it, sees it.

    Args:
        folders: of further configuration files, beside those that --config-dir names in `arguments`.

    Raises:
        ConfigError: an unknown choice of a group without names, a path that is empty, several values without -m.

    >>> prepare(["trainer.max_epochs=2", "model=resnet34", "seed=1"])
    ['++trainer.max_epochs=2', '~model', '++model.name=resnet34', '++seed=1']
    """
    folders = (*folders, *extra_folders(arguments))
    groups = {*schema.GROUPS, "experiment"}
    paths = schema.path_keys()
    prepared: list[str] = []
    for argument in _last_choices(arguments, groups):
        match = re.fullmatch(r"(\+{0,2})([^=~+-][^=]*)=(.*)", argument, re.DOTALL)
        if not match:
            prepared.append(argument)
            continue
        prefix, key, value = match.groups()
        if key in paths or key in _QUOTED_KEYS:
            if not value:
                raise ConfigError(f"{key}: expected a value, found nothing (is a variable unset?).")
            value = _quote_sweep(value, multirun, expand=key in paths)
        elif key not in groups and not key.startswith("hydra"):
            value = _quote_letters(value)
        if not multirun and not key.startswith("hydra") and _is_sweep(f"{key}={value}"):
            raise ConfigError(_several(argument.lstrip("+"), arguments))
        if key in groups and not prefix:
            prepared += _choice(key, value, folders, multirun)
        elif key in groups or key.startswith("hydra") or "@" in key or "/" in key:
            prepared.append(argument)
        else:
            prepared.append(f"++{key}={value}")
    return prepared + [one for one in _against_experiment(arguments, folders) if one not in prepared]


def _last_choices(arguments: Sequence[str], groups: set[str]) -> list[str]:
    """The arguments without a group's choices that a later one replaces.

    >>> _last_choices(["model=a", "seed=1", "model=b"], {"model"})
    ['seed=1', 'model=b']
    """
    keys = [argument.partition("=")[0] for argument in arguments]
    return [
        a
        for place, a in enumerate(arguments)
        if keys[place] not in groups or keys[place] not in keys[place + 1 :]
    ]


def _against_experiment(arguments: Sequence[str], folders: tuple[Path, ...]) -> list[str]:
    """What a choice that was typed beside an experiment changes of the experiment's own keys of that group.

    `experiment=demo augment=none` means demo without augmentation, not none with demo's rotation: keys that the choice
    doesn't have go. `experiment=demo augment=strong` means strong's strengths: what a file sets otherwise than the
    schema's defaults stays as in the file. `experiment=… optimizer=sgd` means SGD's rates: another optimizer's say
    nothing of it.
    """
    # without the pluses that an earlier pass, or the user, has put before a key
    typed = dict(argument.lstrip("+").partition("=")[::2] for argument in arguments)
    sections = _file("experiment", typed.get("experiment"), folders)
    changes = []
    for group in sorted(set(schema.GROUPS) & typed.keys() & sections.keys()):
        own = _file(group, typed[group], folders)
        chosen = schema.schema_of(group, _registered(group, typed[group], folders))
        fields = chosen.model_fields if chosen else {}
        afresh = group == "optimizer" and typed[group] != _chosen(sections, group)
        for key in sections[group] if fields else ():
            if f"{group}.{key}" in typed:
                continue
            field = fields.get(key)
            if field is None:
                changes.append(f"~{group}.{key}")
            elif key in own and (afresh or own[key] != field.default):
                changes.append(f"++{group}.{key}={json.dumps(own[key])}")
    return changes


def _chosen(sections: dict[str, Any], group: str) -> str:
    """The choice of a group in an experiment's file."""
    for entry in sections.get("defaults", ()):
        if isinstance(entry, dict) and f"override /{group}" in entry:
            return str(entry[f"override /{group}"])
    return DEFAULTS[group]


def _registered(group: str, choice: str, folders: tuple[Path, ...]) -> str:
    """The name that a choice's file sets, itself or by the one that it builds on; the choice where there is no file."""
    found = _file(group, choice, folders)
    bases = [base for base in found.get("defaults", ()) if isinstance(base, str) and base[0] != "_"]
    if "name" in found or not bases:
        return str(found.get("name", choice))
    return _registered(group, bases[0], folders)


def _file(group: str, choice: str | None, folders: tuple[Path, ...]) -> dict[str, Any]:
    """What the file of a choice says itself; nothing where there is no file."""
    import yaml

    for folder in (*folders, conf_dir()):
        file = folder / group / f"{choice}.yaml"
        if file.is_file():
            return yaml.safe_load(file.read_text()) or {}
    return {}


def _choice(group: str, value: str, folders: tuple[Path, ...], multirun: bool) -> list[str]:
    known = choices(group, *folders)
    if value in known or (multirun and re.search(r"[,(]", value)):
        return [f"{group}={value}"]
    null = value.lower() == "null"
    if group == "experiment" and null:
        return []
    if null or not (group == "model" or entries(group)):
        names = [*known, *(name for name in entries(group) if name not in known)]
        more = ", or any name that timm knows" if group == "model" else ""
        raise ConfigError(
            f"{group}: expected one of {', '.join(names)}{more}, found {'null' if null else repr(value)}."
        )
    return [f"~{group}", f"++{group}.name={value}"]


def _is_sweep(override: str) -> bool:
    """Whether Hydra takes the value for several ones: commas outside brackets and quotes, choice(…), range(…)."""
    if not re.search(r"[,(]", override):
        return False
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return bool(OverridesParser.create().parse_override(override).is_sweep_override())
    except HydraException:
        return False  # Hydra says what is wrong with it


def _several(override: str, arguments: Sequence[str]) -> str:
    """What to say of several values where one is expected."""
    key, _, values = override.partition("=")
    said = f"{override}: several values need -m: python train.py -m {shlex.join(arguments)}"
    return f"{said}\nA list has brackets: '{key}=[{values}]'" if schema.takes_list(key) else said


def extra_folders(arguments: Sequence[str]) -> tuple[Path, ...]:
    """The folders given by --config-dir.

    Raises:
        ConfigError: one isn't there.
    """
    found = []
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        flag, _, value = argument.partition("=")
        if flag in _CONFIG_DIR:
            folder = Path(value or following)
            if not folder.is_dir():
                raise ConfigError(
                    f"--config-dir: expected a folder, found nothing at {value or following!r}."
                )
            found.append(folder)
    return tuple(found)


def _options_first(arguments: Sequence[str]) -> list[str]:
    """Hydra's parser refuses keys on both sides of an option.

    >>> _options_first(["seed=1,2", "-m", "data.count=9", "--config-dir", "mine"])
    ['-m', '--config-dir', 'mine', 'seed=1,2', 'data.count=9']
    """
    options, others, left = [], [], list(arguments)
    while left:
        one = left.pop(0)
        if one.partition("=")[0] in ("-m", "--multirun", *_CONFIG_DIR):
            options.append(one)
            if one in _CONFIG_DIR and left:
                options.append(left.pop(0))
        else:
            others.append(one)
    return options + others


def _quote_sweep(value: str, multirun: bool, expand: bool) -> str:
    if quoted := re.fullmatch(r"(['\"])(.*)\1", value, re.DOTALL):
        return f"{quoted[1]}{_home(quoted[2]) if expand else quoted[2]}{quoted[1]}"
    if value == "null" or re.fullmatch(r"choice\(.*\)", value, re.DOTALL):
        return value
    parts = value.split(",")
    if multirun and len(parts) > 1 and not Path(value).expanduser().exists():
        return ",".join(_quote(part, expand) for part in parts)
    return _quote(value, expand)


def _quote_letters(value: str) -> str:
    """The value with its words that have letters beyond ASCII quoted, in lists and sweeps too.

    >>> _quote_letters("[glücklich, sad,'à b']")
    "['glücklich', sad,'à b']"
    """
    return _WORDS.sub(
        lambda m: m[1] + _quote(m[2], expand=False) if m[2] and not m[2].isascii() else m[0], value
    )


def _quote(value: str, expand: bool) -> str:
    """A string of Hydra's grammar that means exactly `value`.

    >>> print(_quote("a (b)/c=d's", expand=False))
    'a (b)/c=d\\'s'
    """
    if expand:
        value = _home(value)
    value = value.replace("${", "\\${")
    value = re.sub(r"(\\*)'", lambda match: match[1] * 2 + "\\'", value)
    trailing = len(value) - len(value.rstrip("\\"))
    return f"'{value}{chr(92) * trailing}'"


def _home(value: str) -> str:
    """A path with its ~ expanded, unless that is nobody's: a folder of that name, then."""
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        return value


def check(composed: Any) -> schema.RunConfig:
    """The checked configuration of what Hydra composed.

    Raises:
        ConfigError: lists every problem.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The configuration can't be resolved: {error}") from error
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    return schema.validate({str(key): value for key, value in plain.items()})


def compose(overrides: Sequence[str]) -> schema.RunConfig:
    """The checked configuration of a list of overrides, as typed behind `python train.py`.

    Raises:
        ConfigError: an override that Hydra refuses, or a configuration with problems.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    prepared = prepare(overrides)
    if GlobalHydra.instance().is_initialized():
        raise ConfigError(
            "expected to be called outside a Hydra application, found one running; use check(cfg) in it."
        )
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = hydra_compose(CONFIG_NAME, overrides=prepared)
    except HydraException as error:
        raise ConfigError(str(error)) from error
    return check(composed)


class JobComposer:
    """Composes the jobs of a sweep inside a Hydra application, each combination of files only once.

    Hydra takes 50 to 150 ms a job, nearly all of it for the defaults list; a value is set in half a millisecond.

    Args:
        folders: of further configuration files, which Hydra knows already.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        from hydra.core.override_parser.overrides_parser import OverridesParser

        self._folders = folders
        self._bases: dict[tuple[str, ...], Any] = {}
        self._parser = OverridesParser.create()

    def __call__(self, overrides: Sequence[str]) -> schema.RunConfig:
        """
        Raises:
            ConfigError: an override that Hydra refuses, or a configuration with problems.
        """
        from hydra import compose as hydra_compose
        from hydra.errors import HydraException
        from omegaconf import OmegaConf

        prepared = prepare(overrides, folders=self._folders)
        files = tuple(override for override in prepared if not override.startswith("++"))
        values = [override for override in prepared if override.startswith("++")]
        try:
            if files not in self._bases:
                self._bases[files] = hydra_compose(CONFIG_NAME, overrides=list(files))
            composed = copy.deepcopy(self._bases[files])
            for override in self._parser.parse_overrides(values):
                OmegaConf.update(
                    composed, override.key_or_group, override.value(), merge=True, force_add=True
                )
        except HydraException as error:
            raise ConfigError(str(error)) from error
        return check(composed)


def _option(arguments: Sequence[str], *names: str) -> tuple[str | None, list[str]]:
    """The value of an option, and the arguments without it.

    >>> _option(["--cfg", "job", "seed=1"], "--cfg", "-c"), _option(["-p=data"], "--package", "-p")
    (('job', ['seed=1']), ('data', []))
    """
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            end = place + (1 if equals else 2)
            return value or "".join(arguments[place + 1 : end]), [*arguments[:place], *arguments[end:]]
    return None, list(arguments)


def main(typed: Sequence[str] | None = None) -> None:
    """What `python train.py …` does: one run, or with -m a sweep.

    Args:
        typed: the whole command, where it isn't `sys.argv`.
    """
    arguments = _options_first(sys.argv[1:])
    if {"--help", "-h"} & set(arguments):
        from emotion.help import text

        print(text())
        return
    multirun = bool({"-m", "--multirun"} & set(arguments))
    os.environ[TYPED] = shlex.join(typed or sys.argv)  # a sweep's jobs, processes of their own, inherit it
    task: Callable[[Any], None] = _run
    shown, others = _option(arguments, "--cfg", "-c")
    try:
        if shown is not None and multirun:
            raise ConfigError(
                "--cfg shows the configuration of one run: leave out -m, and give each key one value."
            )
        if shown == "job":
            package, others = _option(others, "--package", "-p")
            task = partial(_show, package=package)
            prepared = prepare([one for one in others if one != "--resolve"])
            sys.argv[1:] = ["--run", *prepared]  # without --run Hydra composes twice, to find out
        else:
            sys.argv[1:] = prepare(arguments, multirun)
    except EmotionError as error:
        fail(error)
    import hydra

    if multirun:
        sys.path.append(str(Path(__file__).parent / "training" / "hydra"))  # where hydra_plugins lies
    hydra.main(config_path=str(conf_dir()), config_name=CONFIG_NAME, version_base="1.3")(task)()


def _run(composed: Any) -> None:
    again = "The same command"
    try:
        config = check(composed)
        again = config.same_command
        from emotion.training.train import train

        train(config)
    except EmotionError as error:
        fail(error)
    except KeyboardInterrupt:
        print(f"\nInterrupted. {again} continues this run.", file=sys.stderr)
        sys.exit(130)


def _show(composed: Any, package: str | None) -> None:
    """Print the checked configuration, or a section of it, as a configuration file has it."""
    import yaml

    try:
        section: Any = check(composed).plain()
        for part in package.split(".") if package else ():
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise ConfigError(
                f"--package: expected a section of the configuration, such as trainer, found {package!r}."
            )
    except EmotionError as error:
        fail(error)
    if package:
        print(f"# @package {package}")
    print(yaml.safe_dump(section, sort_keys=False, allow_unicode=True), end="")


def fail(error: EmotionError) -> None:
    """Print the error's text and leave with exit code 2 for a wrong configuration, 1 for all else."""
    sys.stdout.flush()
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(2 if isinstance(error, ConfigError) else 1)
