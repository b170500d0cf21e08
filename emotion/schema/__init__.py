"""The configuration: every key, its type, its default and what it means. Imports no torch.

`validate` turns the composed plain configuration into a `RunConfig` or raises one `ConfigError` that lists every
problem. The files in `conf/` hold the same defaults, so that Hydra can show them; a test compares the two.

The sections are in `data`, `images`, `model`, `learning` and `machine`.
"""

from emotion.schema.check import validate
from emotion.schema.choices import schema_of
from emotion.schema.run import GROUPS, RunConfig, TopLevel, dotted_keys, json_schema, path_keys, takes_list
from emotion.schema.types import path_key

__all__ = [
    "GROUPS",
    "RunConfig",
    "TopLevel",
    "dotted_keys",
    "json_schema",
    "path_key",
    "path_keys",
    "schema_of",
    "takes_list",
    "validate",
]
