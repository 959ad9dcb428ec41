"""The benchmarks use what the packages export, so that they run after the next change too."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of each import of ours; without a name where the module itself is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, "") for a in node.names if a.name.split(".")[0] == "latprof")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "latprof":
            yield from ((str(node.module), a.name) for a in node.names)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def reached_into(tree: ast.AST) -> Iterator[str]:
    """Private attributes of what is neither its own nor PyTorch's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls") and not owner.startswith(("super(", "nn.", "torch.")):
                yield ast.unparse(node)


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda p: p.stem)
def test_a_benchmark_uses_public_names_that_exist(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for module, name in imported(tree):
        assert not any(is_private(part) for part in [*module.split("."), name]), (module, name)
        if name:
            assert name in importlib.import_module(module).__all__, f"{module} exports no {name}"
    assert not list(reached_into(tree))


def test_private_names_are_noticed() -> None:
    code = "from latprof.tables._rows import a\nfrom latprof.tables import _b\nx._c\nself._d\n"
    tree = ast.parse(code)
    assert list(imported(tree)) == [("latprof.tables._rows", "a"), ("latprof.tables", "_b")]
    assert list(reached_into(tree)) == ["x._c"]
