"""What the site takes from the code: the API reference and the graph of packages."""

from __future__ import annotations

import ast
import html
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Modules whose public names the API reference lists.
MODULES = ("latprof", "latprof.errors", "latprof.integrations")
API_PAGE = "reference/api.md"
LAYERS_PAGE = "internals/index.md"
#: Where a page wants what is generated.
API_MARK, LAYERS_MARK, IMPORTS_MARK = "<!-- api -->", "<!-- layers -->", "<!-- imports -->"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """mkdocs calls this for each page before it is turned into HTML."""
    if page.file.src_uri == API_PAGE:
        return markdown.replace(API_MARK, api_reference())
    if page.file.src_uri == LAYERS_PAGE:
        contracts = layer_contracts()
        figures = "\n\n".join(
            f"### `{package}`\n\n{layer_figure(layers)}" for package, layers in contracts.items()
        )
        table = import_table(contracts["latprof"])
        return markdown.replace(LAYERS_MARK, figures).replace(IMPORTS_MARK, table)
    return markdown


def public_names(module: str) -> list[str]:
    """``__all__`` of a module, read without importing it."""
    base = ROOT.joinpath(*module.split("."))
    candidates = (base / "__init__.pyi", base / "__init__.py", base.with_suffix(".py"))
    source = next(path for path in candidates if path.is_file())
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(ast.literal_eval(node.value), key=lambda name: (name[0].isupper(), name))
    raise ValueError(f"{source} has no literal __all__; the API reference needs one")


def api_reference() -> str:
    """One mkdocstrings block for each public name.

    Raises:
        ValueError: a public name has no docstring, so mkdocs ends with this error.
    """
    import griffe

    package = griffe.load("latprof", search_paths=[ROOT], resolve_aliases=True)
    blocks, missing = [], []
    for module in MODULES:
        blocks.append(f"## `{module}`")
        for name in public_names(module):
            path = f"{module}.{name}"
            found = package[path.removeprefix("latprof.")]
            if found.is_module:
                continue  # it has a section of its own
            if not found.has_docstring:
                missing.append(path)
            blocks.append(f"::: {path}\n    options:\n      heading_level: 3\n")
    if missing:
        raise ValueError(f"public names without a docstring: {', '.join(missing)}")
    return "\n\n".join(blocks)


def layer_contracts() -> dict[str, list[list[str]]]:
    """The layers that import-linter holds, from the top, by the package they are within."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {
        contract["containers"][0]: [layer.split(" | ") for layer in contract["layers"]]
        for contract in config["contracts"]
        if contract["type"] == "layers"
    }


def layer_figure(layers: list[list[str]]) -> str:
    """Boxes in rows: a box may import what is in the rows below it."""
    rows = (
        "".join(f"<span>{html.escape(name)}</span>" for name in sorted(layer)) for layer in layers
    )
    return '<div class="layers">' + "".join(f"<div>{row}</div>" for row in rows) + "</div>"


def import_table(layers: list[list[str]]) -> str:
    """Which of latprof's packages each one imports, as the sources say."""
    order = [name for layer in layers for name in layer]
    lines = ["| package | imports |", "|---|---|"]
    for name in order:
        found = sorted(imports_of(name) & set(order), key=order.index)
        lines.append(f"| `{name}` | {', '.join(f'`{other}`' for other in found) or 'none'} |")
    return "\n".join(lines)


def imports_of(package: str) -> set[str]:
    """Names of the other top-level packages of latprof that a package imports."""
    found: set[str] = set()
    for path in _sources(package):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                if node.module == "latprof":
                    found |= {alias.name for alias in node.names}
                elif node.module.startswith("latprof."):
                    found.add(node.module.split(".")[1])
            elif isinstance(node, ast.Import):
                found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("latprof.")}
    return found - {package}


def _sources(package: str) -> Iterator[Path]:
    base = ROOT / "latprof" / package
    if base.is_dir():
        yield from base.resolve().rglob("*.py")
    else:
        yield base.with_suffix(".py")
