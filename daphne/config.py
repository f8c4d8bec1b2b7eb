"""Configuration files: `daphne.toml`, or the table `[tool.daphne]` of a `pyproject.toml`.

Called by daphne.cli; calls nothing. A file has the settings by their names or their flags, and `target`:

    target = "project.asgi:application"
    port = 8001
    trusted-proxies = ["10.0.0.0/8"]
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from daphne.errors import ConfigurationError

PROJECT = "pyproject.toml"


def read_config(path: str | None) -> tuple[str, dict[str, Any]]:
    """What stands in the file at `path`, and the name that messages call it by.

    Without a path it is `[tool.daphne]` of the pyproject.toml in the current directory, if there is such a
    table. Raises ConfigurationError for a file that cannot be read or is not TOML.
    """
    if path is None:
        if not Path(PROJECT).is_file():
            return PROJECT, {}
        path = PROJECT
    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    if Path(path).name == PROJECT:
        tools = content.get("tool")
        content = tools.get("daphne", {}) if isinstance(tools, dict) else {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: tool.daphne is not a table")
    return path, content
