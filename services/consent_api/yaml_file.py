"""The YAML files that settings name."""

from pathlib import Path

import yaml


def read_yaml(path: Path) -> object:
    """What the file holds. ValueError for anything that cannot be read as YAML."""
    try:
        content: object = yaml.safe_load(path.read_text("utf-8"))
    except Exception:  # PyYAML checks little: it raises whatever it runs into, for `!!int x` or a deep nesting.
        raise ValueError("names a file that cannot be read as YAML") from None
    return content
