"""What is said of a wrong configuration: each problem as expected, found, and the nearest right name."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from emotion.registry import Group, entries


def suggest(words: Sequence[str]) -> str:
    """A hint at what was meant, to be appended.

    >>> suggest(["data.batch_size", "evaluation.batch_size"]), suggest([])
    ('; did you mean data.batch_size or evaluation.batch_size?', '')
    """
    if not words:
        return ""
    others = f"{', '.join(words[:-1])} or " if len(words) > 1 else ""
    return f"; did you mean {others}{words[-1]}?"


def nearest(word: str, known: Iterable[str], n: int = 1, cutoff: float = 0.6) -> list[str]:
    """Up to `n` of the known words that look alike, the best first."""
    return difflib.get_close_matches(word, list(known), n=n, cutoff=cutoff)


def meant(key: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known dotted keys that an unknown one may stand for, by the last part of each.

    >>> meant("lrr", ["seed", "model", "optimizer.lr"]), meant("modle.name", ["seed", "model", "logger.mode"])
    (['optimizer.lr'], ['model'])
    """
    section, _, word = key.removesuffix(".name").rpartition(".")
    by_last: dict[str, list[str]] = {}
    for name in dict.fromkeys(known):
        by_last.setdefault(name.rpartition(".")[2], []).append(name)
    whole = [name for name in known if "." not in name]
    last_parts = [word] if word in by_last else nearest(word, whole, cutoff=0.8) or nearest(word, by_last)
    found = [name for last in last_parts for name in by_last[last]]
    return sorted(found, key=lambda name: not name.startswith(f"{section}."))[:3]


def _unknown_key(
    group: str, name: str | None, schema: type[Group], path: tuple[str, ...], known: Sequence[str]
) -> str:
    """What to say of a key that the schema doesn't have."""
    *above, key = path
    fields = _walk(schema, above)[1]
    choice = f" of {group}={name}" if name else f" of {group}"
    owners = [other for other, entry in entries(group).items() if key in entry.schema.model_fields]
    if owners:
        return f"unknown key{choice}; it belongs to {' and '.join(f'{group}={owner}' for owner in owners)}"
    elsewhere = meant(".".join([group, *path]), known) if key != "name" else []
    own = nearest(key, fields)
    exact = any(one.rpartition(".")[2] == key for one in elsewhere)
    return (
        f"unknown key{choice}{suggest(own if own and not exact else elsewhere)} (it has {', '.join(fields)})"
    )


def _say(error: Any) -> str:
    """One pydantic error as expected, found."""
    kind, context, found = error["type"], error.get("ctx", {}), error["input"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "expected a value, found nothing"
    expected = {
        "literal_error": f"one of {context.get('expected', '')}".replace(" or ", ", "),
        "int_parsing": "a whole number",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_parsing": "true or false",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "dict_type": "keys and values",
        "model_type": "keys and values",
        "path_type": "a path",
        "greater_than": f"more than {context.get('gt')}",
        "greater_than_equal": f"at least {context.get('ge')}",
        "less_than": f"less than {context.get('lt')}",
        "less_than_equal": f"at most {context.get('le')}",
        "too_short": f"a list of at least {context.get('min_length')}",
    }.get(kind, error["msg"][:1].lower() + error["msg"][1:])
    hint = ""
    if isinstance(found, str):
        hint = suggest(nearest(found, re.findall(r"'([^']+)'", str(context.get("expected", "")))))
    return f"expected {expected}, found {found!r}{hint}"


def _walk(
    schema: type[Group], path: Iterable[str | int]
) -> tuple[list[str], dict[str, FieldInfo], FieldInfo | None]:
    """As far as a path leads through the schema's fields: its keys, the fields below the last one, that one's own."""
    found: list[str] = []
    fields, field = dict(schema.model_fields), None
    for part in path:
        if part not in fields:
            break
        found.append(str(part))
        field = fields[str(part)]
        fields = dict(getattr(field.annotation, "model_fields", {}))
    return found, fields, field


def _place(schema: type[Group], location: tuple[str | int, ...]) -> tuple[list[str], FieldInfo | None, str]:
    """Where pydantic found a problem: the keys, the last one's field, and what lies inside its value."""
    found, _, field = _walk(schema, location)
    inside = location[len(found) :]
    if field and _is_union(field.annotation):
        inside = inside[1:]  # the name of the alternative
    return found, field, "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in inside)


def _is_union(annotation: Any) -> bool:
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return get_origin(annotation) in (Union, UnionType) and len(kinds) > 1


def _values_wanted(field: FieldInfo | None, kind: str) -> int | None:
    """How many values a field must have, where the problem is that it has not."""
    kinds = get_args(field.annotation) if field and get_origin(field.annotation) is tuple else ()
    return (
        len(kinds) if kinds and kind in ("missing", "too_long", "tuple_type") and ... not in kinds else None
    )


def problems_of(
    error: ValidationError, group: str, name: str | None, schema: type[Group], known: Sequence[str]
) -> Iterator[str]:
    """Each problem of one section as a line. The alternatives of a union make one line together.

    Where an alternative's kind was found, such as a mapping, only what is wrong inside it is said.

    Args:
        group: whose section it is; empty for the keys outside the groups.
        name: what the group chooses; None where there is no choice.
        known: the dotted keys of all groups, to look for the one that was meant.
    """
    seen: dict[str, dict[str, list[str]]] = {}  # by key, and by the place inside its value
    entered = set()
    section = [group] if group else []
    for item in error.errors():
        if item["type"] == "extra_forbidden":
            path = tuple(str(part) for part in item["loc"])
            seen[".".join([*section, *path])] = {"": [_unknown_key(group, name, schema, path, known)]}
            continue
        found, field, inside = _place(schema, item["loc"])
        key = ".".join([*section, *found])
        said = _say(item)
        if wanted := _values_wanted(field, item["type"]):
            inside, said = "", f"expected {wanted} values, found {item['input']!r}"
        elif inside and field and _is_union(field.annotation):
            entered.add(key)
        seen.setdefault(key, {}).setdefault(inside, []).append(said)
    for key, places in seen.items():
        if key in entered:
            places.pop("", None)
        for inside, sentences in places.items():
            yield f"{key}{inside}: {_joined(sentences)}"


def _joined(sentences: list[str]) -> str:
    """What each alternative expected, in one sentence."""
    found = sentences[0].rpartition(", found ")[2]
    alternatives = [s.rpartition(", found ")[0].removeprefix("expected ") for s in sentences]
    if len(sentences) > 1 and all(alternatives):
        return f"expected {' or '.join(dict.fromkeys(alternatives))}, found {found}"
    return sentences[0]


def leaves(section: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys that were given values.

    >>> list(leaves({"train": {"max_epochs": 3, "monitor": "loss"}, "lr": 1}))
    ['train.max_epochs', 'train.monitor', 'lr']
    """
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
