"""`python train.py --help`, made from the schema: Hydra's own takes half a second and says less."""

import json
import textwrap
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from emotion import schema
from emotion.launch import choices
from emotion.registry import Group, entries
from emotion.schema.model import ModelConfig

_WIDTH, _INDENT = 110, 40
_HEAD = """\
Train a network that recognises facial expressions, and report how well it does.

  python train.py                                                    drawn faces, two minutes on a CPU
  python train.py data=fer2013 data.root=~/fer2013 model=efficientnet_b0 augment=basic
  python train.py experiment=demo trainer.max_epochs=5               a file of conf/experiment, with a change
  python train.py -m model=efficientnet_b0 fold=0,1,2,3              a sweep: every combination of the commas

The same command again continues an interrupted run and skips a finished one.
--cfg job prints the configuration that a command line comes to.
"""


def text() -> str:
    parts = [_HEAD, _section("", schema.TopLevel, "Keys outside the groups")]
    for group in schema.GROUPS:
        files = choices(group)
        if group == "model":
            listed = f"model = {', '.join(files)}, or any name that timm knows"
            parts.append(_section(group, ModelConfig, textwrap.fill(listed, _WIDTH)))
        elif entries(group):
            names = [*files, *(name for name in entries(group) if name not in files)]
            parts.append(_choices(group, names))
        else:
            single = schema.schema_of(group, None)
            assert single is not None
            parts.append(_section(group, single, group))
    parts.append(f"experiment = {', '.join(choices('experiment'))}\n")
    return "\n".join(parts)


def _choices(group: str, names: list[str]) -> str:
    """The keys that all choices share once, then what each adds."""
    schemas = {name: entry.schema for name, entry in entries(group).items()}
    common = set.intersection(*(set(s.model_fields) for s in schemas.values())) - {"name"}
    first = next(iter(schemas.values()))
    lines = [f"{group} = {', '.join(names)}"]
    lines += [
        line
        for key, field in first.model_fields.items()
        if key in common
        for line in _key(f"{group}.{key}", field)
    ]
    for name, found in schemas.items():
        own = [(key, field) for key, field in found.model_fields.items() if key not in common | {"name"}]
        if own:
            lines.append(f"  with {group}={name}:")
            lines += [line for key, field in own for line in _key(f"{group}.{key}", field)]
    return "\n".join(lines) + "\n"


def _section(group: str, found: type[Group], title: str) -> str:
    lines = [title]
    for key, field in found.model_fields.items():
        below = getattr(field.annotation, "model_fields", None)
        name = f"{group}.{key}" if group else key
        if below:
            lines += [line for sub, item in below.items() for line in _key(f"{name}.{sub}", item)]
        elif key != "name" or not group or group == "model":
            lines += _key(name, field)
    return "\n".join(lines) + "\n"


def _key(name: str, field: FieldInfo) -> list[str]:
    default: Any = field.get_default(call_default_factory=True)
    shown = str(default) if isinstance(default, str | Path) else json.dumps(default)
    head = f"  {name}={shown}"
    lines = textwrap.wrap(field.description or "", _WIDTH - _INDENT)
    if lines and len(head) < _INDENT:
        head, lines = f"{head:<{_INDENT}}{lines[0]}", lines[1:]
    return [head, *(" " * _INDENT + line for line in lines)]
