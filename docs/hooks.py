"""What the site takes from the code: the references of commands and of Python, the packages."""

from __future__ import annotations

import ast
import html
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Sections of the API reference: title, module, and whether only its types are listed.
SECTIONS = (
    ("latprof", "latprof", False),
    ("latprof.table", "latprof.pipeline.table", False),
    ("latprof.pipeline: what the functions return", "latprof.pipeline", True),
    ("latprof.errors", "latprof.errors", False),
    ("latprof.integrations", "latprof.integrations", False),
)
API_PAGE = "reference/api.md"
COMMANDS_PAGE = "reference/command-line.md"
LAYERS_PAGE = "internals/index.md"
#: Where a page wants what is generated.
API_MARK, COMMANDS_MARK = "<!-- api -->", "<!-- commands -->"
LAYERS_MARK, IMPORTS_MARK = "<!-- layers -->", "<!-- imports -->"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """mkdocs calls this for each page before it is turned into HTML."""
    if page.file.src_uri == API_PAGE:
        return markdown.replace(API_MARK, api_reference())
    if page.file.src_uri == COMMANDS_PAGE:
        return markdown.replace(COMMANDS_MARK, command_reference())
    if page.file.src_uri == LAYERS_PAGE:
        contracts = layer_contracts()
        figures = "\n\n".join(
            f"### `{package}`\n\n{layer_figure(layers)}" for package, layers in contracts.items()
        )
        table = import_table(contracts["latprof"])
        return markdown.replace(LAYERS_MARK, figures).replace(IMPORTS_MARK, table)
    return markdown


def source_of(module: str) -> Path:
    """The file that lists a module's names: a stub where names load lazily."""
    base = ROOT.joinpath(*module.split("."))
    candidates = (base / "__init__.pyi", base / "__init__.py", base.with_suffix(".py"))
    return next(path for path in candidates if path.is_file())


def public_names(module: str) -> list[str]:
    """``__all__`` of a module, functions first, read without importing it."""
    for node in ast.parse(source_of(module).read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(ast.literal_eval(node.value), key=lambda name: (name[0].isupper(), name))
    raise ValueError(f"{source_of(module)} has no literal __all__; the API reference needs one")


def definition_of(module: str, name: str) -> str:
    """Dotted path of the definition of ``module.name``, through what re-exports it.

    ``latprof.devices`` is a function and a package; its definition is unmistakable.
    """
    source = source_of(module)
    is_package = source.stem == "__init__"
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            if ast.unparse(node.targets[0]) == name:  # another name of the same thing
                return definition_of(module, node.value.id)
            continue
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) != name:
                continue
            origin = node.module or ""
            if node.level:
                parent = module if is_package else module.rpartition(".")[0]
                if not origin:
                    return f"{parent}.{alias.name}"
                origin = f"{parent}.{origin}"
            return definition_of(origin, alias.name)
    return f"{module}.{name}"


def is_module(path: str) -> bool:
    """Whether a dotted path is a module or a package of this checkout."""
    base = ROOT.joinpath(*path.split("."))
    return base.is_dir() or base.with_suffix(".py").is_file()


def is_defined(path: str) -> bool:
    """Whether a dotted path is a function or class, and no constant."""
    module, _, name = path.rpartition(".")
    tree = ast.parse(source_of(module).read_text())
    return any(getattr(node, "name", None) == name for node in tree.body)


def has_docstring(path: str) -> bool:
    """Whether the function or class at a dotted path has one."""
    module, _, name = path.rpartition(".")
    tree = ast.parse(source_of(module).read_text())
    named = (n for n in tree.body if getattr(n, "name", None) == name)
    return any(ast.get_docstring(node) for node in named)


def api_reference() -> str:
    """One mkdocstrings block for each public name.

    Raises:
        ValueError: a public name has no docstring; mkdocs ends with it.
    """
    blocks = []
    for title, module, types_only in SECTIONS:
        blocks.append(f"## {title}")
        for name in public_names(module):
            path = definition_of(module, name)
            constant = name.isupper() and not is_defined(path)
            if is_module(path) or constant or (types_only and not name[0].isupper()):
                continue  # a module has a section of its own
            if not has_docstring(path):
                raise ValueError(f"{path} has no docstring; every public name needs one")
            shown = f"{title.partition(':')[0]}.{name}"
            options = f'      heading_level: 3\n      heading: "{shown}"\n      toc_label: "{name}"'
            blocks.append(f"::: {path}\n    options:\n{options}\n")
    return "\n\n".join(blocks)


def command_reference() -> str:
    """The help of each command, under a heading."""
    return "\n\n".join(f"## {name}\n\n```text\n{text}\n```" for name, text in command_helps())


def command_helps() -> Iterator[tuple[str, str]]:
    """(``latprof ...``, its help) of each command and each command of a group."""
    from latprof._cli import cli

    yield from _helps(cli, None, "latprof")


def _helps(command: Any, parent: Any, name: str) -> Iterator[tuple[str, str]]:
    context = command.context_class(command, parent=parent, info_name=name, terminal_width=84)
    path = context.command_path
    yield path, command.get_help(context)
    for sub in getattr(command, "list_commands", lambda context: [])(context):
        yield from _helps(command.get_command(context, sub), context, sub)


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
