"""What a configuration can name: for each group the known names, their schema and where their builder is.

An entry is a torch-free pydantic model beside the dotted name of a builder that is imported only when it is
built, so checking a configuration never imports torch. Other packages add entries through the entry point group
`emotion.plugins`: each entry point is a function without arguments that calls `register`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ConfigDict

from emotion.errors import ConfigError


class Group(BaseModel):
    """One section of the configuration. Unknown keys are refused, values don't change."""

    # built when first used: thirty models built at import would be a tenth of a second of every command
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, defer_build=True
    )


class Named(Group):
    """A section that chooses something by its name."""

    name: str


@dataclass(frozen=True)
class Entry:
    """A registered name: `schema` checks its section, `builder` ("package.module:callable") makes it."""

    schema: type[Named]
    builder: str | None


_entries: dict[str, dict[str, Entry]] = {}


def register(group: str, name: str, schema: type[Named], builder: str | None = None) -> None:
    """Make `name` known in `group`.

    Raises:
        ConfigError: the name is already taken by something else in this group.
    """
    entry = Entry(schema, builder)
    if _entries.setdefault(group, {}).setdefault(name, entry) != entry:
        raise ConfigError(
            f"{group}={name} is registered twice: {_entries[group][name].builder} and {builder}."
        )


@cache
def _load_plugins() -> None:
    for point in entry_points(group="emotion.plugins"):
        try:
            register_all = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"the plugin {point.name} ({point.value}) can't be imported: {error}. It may have been written for "
                "another version of emotion; mend it, or uninstall its package."
            ) from error
        register_all()


def entries(group: str) -> dict[str, Entry]:
    """The names known in `group`, plugins included."""
    _load_plugins()
    return _entries.get(group, {})


def resolve(builder: str) -> Any:
    """The module or, after a colon, the attribute that a dotted name means."""
    module, _, attribute = builder.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def builder(group: str, name: str) -> Callable[..., Any]:
    """The imported builder of `name` in `group`.

    Raises:
        ConfigError: the name is not registered or has nothing to build.
    """
    entry = entries(group).get(name)
    if entry is None or entry.builder is None:
        raise ConfigError(
            f"expected a name that can be built in {group} ({', '.join(entries(group))}), found {name!r}."
        )
    return resolve(entry.builder)
