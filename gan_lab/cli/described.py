"""Settings in words, for `--help` and the reference pages."""

import re
from typing import Any

import yaml


def beside_key(text: str, name: str) -> str:
    """Return the comment that a YAML file has beside a key; "" if it has none."""
    found = re.search(rf"^\s*{name}:[^#\n]*#\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def as_yaml(value: Any) -> str:
    """Return a value in YAML, on one line. Raises yaml.YAMLError for what YAML cannot hold."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").strip()
