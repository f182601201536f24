"""What a command prints to stdout: a table, or one JSON document."""

import json
from typing import Any

import typer


def print_table(table: Any) -> None:
    """Prints a `rich` table."""
    from rich.console import Console

    Console().print(table)


def print_json(document: Any) -> None:
    """Prints a document of JSON types, indented."""
    typer.echo(json.dumps(document, indent=2))
