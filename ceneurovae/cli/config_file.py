"""`--config FILE`: options of a command from JSON or TOML."""

import json
import tomllib
from pathlib import Path

import typer


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Makes the contents of a file the defaults of the command's other options.

    Raises:
        FileNotFoundError, ValueError: if it cannot be read, or names what is no option.
    """
    if path is None:
        return None
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'.")
    try:
        text = path.read_text()
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"'{path}' is neither TOML nor JSON: {error}.") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"'{path}' holds a {kind}, expected names and values of options.")
    known = {parameter.name for parameter in context.command.params} - {"config", "files"}
    unknown = sorted(set(content) - known)
    if unknown:
        raise ValueError(
            f"'{path}' sets {', '.join(unknown)}; known are {', '.join(sorted(known))}."
        )
    if isinstance(content.get("channels"), list):
        content["channels"] = ",".join(content["channels"])
    context.default_map = content
    return path
