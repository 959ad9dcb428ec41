"""What a file imports of latprof, and which names are private."""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["imported", "is_private"]


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of each import of ours; without a name where the module itself is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "latprof")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "latprof":
            yield from ((str(node.module), a.name) for a in node.names)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")
