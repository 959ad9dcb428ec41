"""What the documentation says exists: commands, snippets, links, keys, names; in plain English."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import torch
from support.training import EXAMPLE, Plain, plain_compressor

import latprof
from latprof._cli import cli
from latprof.devices import profile
from latprof.errors import UsageError
from latprof.models import load_model
from latprof.pipeline.run import RunFile
from latprof.tables import plan

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
#: The snippets of this page have a test of their own.
OWN_LOOP = DOCS / "guide" / "own-loop.md"

#: What a reader would have to look up, and what to write instead.
INSTEAD = {
    r"weather": "background load, measurement conditions",
    r"\bpaces?\b": "slowdown",
    r"\b(re)?told\b": "corrected, printed, stated",
    r"\bcalm\b": "idle",
    r"\brestless\b": "busy",
    r"\bpatience\b": "max_wait",
    r"\bdisturbed\b": "throttled, discarded",
    r"\bcrowded\b": "memory-contended",
    r"\bset aside\b": "discarded",
    r"\bstrikes\b": "crashes",
    r"\bwhole road\b": "end-to-end demo",
    r"slips? of the pen": "typo",
    r"\bragged\b": "unaligned",
    r"\bswallow(s|ed)\b": "fused",
    r"\bunboxing\b": "set up",
    r"\bstands for it\b": "is used",
    r"\blearnt\b": "learned",
    r"neighbour": "neighbor",
    r"quantis": "quantiz",
    r"regularis": "regulariz",
    r"optimis(e|ing|ation)": "optimiz",
}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def site_hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HELPS = list(site_hooks().command_helps())


def blocks(page: Path, language: str) -> Iterator[tuple[str, str]]:
    """(comment above it, code) of each fenced block."""
    found = re.findall(
        rf"(?:<!-- ([^>]*) -->\n)?^```{language}\n(.*?)^```", page.read_text(), re.M | re.S
    )
    yield from found


# ------------------------------------------------------------------------------- command lines


def command_lines(page: Path) -> Iterator[str]:
    """Lines of indented blocks that begin with latprof, continued lines joined."""
    text = page.read_text().replace("\\\n", " ")
    yield from re.findall(r"^    (latprof .*)$", text, re.M)


def mentions(page: Path) -> Iterator[str]:
    """``latprof ...`` within a sentence."""
    yield from re.findall(r"`(latprof [^`]*)`", page.read_text())


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        sub = command.get_command(click.Context(command), words[0])
        assert sub is not None, f"latprof has no command {words[0]!r}"
        command, words = sub, words[1:]
    return command, words


def test_commands_are_found_in_the_pages() -> None:
    assert len([line for page in PAGES for line in command_lines(page)]) > 40


@each_page
def test_each_command_line_is_one_that_latprof_takes(page: Path) -> None:
    for line in command_lines(page):
        command, words = command_of(shlex.split(line, comments=True)[1:])
        try:
            command.make_context("latprof", words)
        except click.ClickException as exc:
            pytest.fail(f"{line}: {exc.format_message()}")


@each_page
def test_each_command_that_a_sentence_names_has_these_options(page: Path) -> None:
    for line in mentions(page):
        command, words = command_of(shlex.split(line)[1:])
        known = {o for p in command.params for o in p.opts} | {"--help", "--version"}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= known, f"{line}: {given - known} of {name_of(page)}"


def test_an_option_that_does_not_exist_is_noticed() -> None:
    command, words = command_of(["table", "show", "local.parquet", "--nothing"])
    with pytest.raises(click.NoSuchOption):
        command.make_context("latprof", words)


@each_page
def test_each_script_that_is_named_exists(page: Path) -> None:
    pattern = r"\b(?:scripts/[\w-]+|(?:benchmarks|examples|tests)/[\w/]+\.\w+)"
    for name in re.findall(pattern, page.read_text()):
        assert (ROOT / name).exists(), name


# ------------------------------------------------------------------------------------ snippets


@pytest.fixture
def where_pages_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A folder with a table, and the names that snippets use."""
    monkeypatch.chdir(tmp_path)
    workloads = latprof.trace(Plain(), EXAMPLE).workloads()
    with latprof.open_device("fake", seed="3", stair="8") as device:
        rows = tuple(profile(device, plan(workloads, n_shapes=80)))
        latprof.LatencyTable(device.target, rows).save(Path("local.parquet"))
    comp = plain_compressor()
    return {"model": Plain(), "example_inputs": EXAMPLE, "comp": comp, "torch": torch}


RUNNING = [
    p for p in PAGES if p != OWN_LOOP and any("fragment" not in c for c, _ in blocks(p, "python"))
]


@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_each_snippet_runs(page: Path, where_pages_are_read: dict[str, Any]) -> None:
    for comment, code in blocks(page, "python"):
        if not comment.startswith("fragment:"):
            exec(compile(code, name_of(page), "exec"), where_pages_are_read)


PRINTED = re.compile(r"^```python\n((?:(?!```).)*)```\n\nprints\n\n```text\n(.*?)```", re.M | re.S)


def test_a_snippet_prints_what_its_page_says(
    where_pages_are_read: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ((code, text),) = (found for page in PAGES for found in PRINTED.findall(page.read_text()))
    exec(compile(code, "snippet", "exec"), where_pages_are_read)
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert printed.strip() == text.strip()


@each_page
def test_each_fragment_has_a_reason_and_names_what_exists(page: Path) -> None:
    for comment, code in blocks(page, "python"):
        if not comment.startswith("fragment:"):
            continue
        assert len(comment.removeprefix("fragment:").split()) > 2, comment
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("latprof."):
                found: Any = latprof
                for part in ast.unparse(node).split(".")[1:]:
                    found = getattr(found, part)


def test_the_network_of_getting_started_is_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ((_, code),) = blocks(DOCS / "getting-started.md", "python")
    Path("mynet.py").write_text(code)
    model, inputs, _ = load_model("mynet:model")
    assert sum(g.prunable for g in latprof.trace(model, inputs).groups) == 5


# ------------------------------------------------------------------------------------ RUN.toml


def written(folder: Path, text: str) -> Path:
    """A RUN.toml with the text, and what a run needs besides."""
    required = {"model": "zoo:lstm", "data": "a:b", "table": "t.parquet", "out": "runs/first"}
    missing = [f'{key} = "{value}"' for key, value in required.items() if f"{key} = " not in text]
    path = folder / "RUN.toml"
    path.write_text("\n".join(missing) + "\n" + text)
    return path


@each_page
def test_each_run_file_of_a_page_is_one(page: Path, tmp_path: Path) -> None:
    for comment, text in blocks(page, "toml"):
        assert comment == "run-toml"
        RunFile.load(written(tmp_path, text))


def expected_keys(folder: Path, section: str) -> set[str]:
    """The keys that a RUN.toml may have, from the message about one that it may not."""
    text = f"[{section}]\nnothing = 1" if section else "nothing = 1"
    with pytest.raises(UsageError, match="expected one of") as caught:
        RunFile.load(written(folder, text))
    return set(str(caught.value).rpartition("expected one of ")[2].split(", "))


def documented_keys() -> dict[str, set[str]]:
    """Keys by section; of the top level under the empty name."""
    page = (DOCS / "reference" / "run-toml.md").read_text()
    found: dict[str, set[str]] = {"": set()}
    section = ""
    for row in re.findall(r"^\|(.*)\|$", page, re.M):
        first, second = (cell.strip() for cell in row.split("|")[:2])
        if named := re.fullmatch(r"`\[(\w+)\]`", first):
            section = named[1]
            found[section] = set()
        if first == "each":
            for block in found.keys() - {""}:  # the blocks are the sections so far
                found[block] |= set(re.findall(r"`(\w+)`", second))
        elif first == "" or named:
            found[section] |= set(re.findall(r"`(\w+)`", second))
        elif key := re.fullmatch(r"`(\w+)`", first):
            found[""].add(key[1])
    return found


def test_the_reference_lists_every_key_of_a_run_file(tmp_path: Path) -> None:
    documented = documented_keys()
    sections = set(documented) - {""}
    assert documented[""] | sections | {"device_settings"} == expected_keys(tmp_path, "")
    for section in sections:
        assert documented[section] == expected_keys(tmp_path, section), section


# --------------------------------------------------------------------------------------- links


def anchors(page: Path) -> set[str]:
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M
    )
    slugs = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[\s-]+", "-", slug) for slug in slugs}


@each_page
def test_each_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


# ------------------------------------------------------------------------------- public names


def test_every_public_name_is_in_the_api_reference() -> None:
    reference = site_hooks().api_reference()
    for name in latprof.__all__:
        section = f"## latprof.{name}" if name in ("errors", "table") else f'"latprof.{name}"'
        assert section in reference, name


def test_the_api_reference_finds_what_python_imports() -> None:
    hooks = site_hooks()
    for name in latprof.__all__:
        home, _, last = hooks.definition_of("latprof", name).rpartition(".")
        assert getattr(importlib.import_module(home), last) is getattr(latprof, name)


def test_every_public_name_has_a_docstring() -> None:
    for _, module, _ in site_hooks().SECTIONS:
        home = importlib.import_module(module)
        for name in site_hooks().public_names(module):
            assert getattr(home, name).__doc__, f"{module}.{name} has no docstring"


# --------------------------------------------------------------------------- graph of packages


def test_the_graph_of_packages_is_the_import_contract() -> None:
    hooks = site_hooks()
    for layers in hooks.layer_contracts().values():
        figure = hooks.layer_figure(layers)
        assert re.findall(r"<span>(\w+)</span>", figure) == [
            n for row in layers for n in sorted(row)
        ]


def test_what_the_sources_import_lies_in_lower_layers() -> None:
    hooks = site_hooks()
    layers = hooks.layer_contracts()["latprof"]
    height = {name: -row for row, layer in enumerate(layers) for name in layer}
    for name in height:
        for other in hooks.imports_of(name) & set(height):
            assert height[other] < height[name], f"{name} imports {other}"


# --------------------------------------------------------------------------------- plain words


def in_plain_words(text: str, where: str) -> None:
    for pattern, instead in INSTEAD.items():
        if found := re.search(pattern, text, re.IGNORECASE):
            around = text[max(0, found.start() - 40) : found.end() + 40]
            pytest.fail(f"{where}: {found[0]!r}; write {instead}: ...{around}...")


@each_page
def test_pages_use_the_words_of_the_glossary(page: Path) -> None:
    # Names are the code's own.
    text = re.sub(r"`[^`\n]+`|benchmarks/\w+\.py", "`name`", page.read_text())
    in_plain_words(text, name_of(page))


@pytest.mark.parametrize(("path", "text"), HELPS, ids=[path for path, _ in HELPS])
def test_help_uses_the_words_of_the_glossary(path: str, text: str) -> None:
    in_plain_words(text, path)
