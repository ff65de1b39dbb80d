"""``--option KEY=VALUE``, the same for each command that takes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` pairs; values are JSON where they parse as such, else text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"--option {pair}: expected KEY=VALUE")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options
