"""The benchmarks use what the packages export, so that they run after the next change too."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.imports import imported, is_private

BENCHMARKS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


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
