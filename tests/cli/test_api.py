"""Every command is a function of the same name, with the same arguments and a documented result."""

from __future__ import annotations

import importlib
import inspect

import click
import pytest

import latprof
from latprof._cli import cli

#: Arguments of a command that are spelled otherwise in Python, and those of the terminal alone.
SPELLED = {
    "batches": "batch",
    "format_": "format",
    "tables_": "tables",
    "input_shapes": "inputs",
    "tensorboard": "trackers",
}
TERMINAL = {
    "as_json",
    "settings",
    "every_op",
    "every_layer",
    "verbose",
    "pairs",
    "benchmark_model",
    "check",
    "markdown",
    "junit",
    "html",
    "model_explorer",
}
#: Functions whose names a command of a group shortens.
NAMED = {
    "table.import": "import_",
    "zoo.list": "list_tables",
    "zoo.get": "get_table",
    "zoo.add": "add_table",
}
#: ``table import`` takes a Target whole; ``table show --rows`` is a way of printing; see below.
OTHERWISE = {
    "import": {"device", "runtime", "runtime_version", "threads"},
    "show": {"rows"},
    # Of an exported file, keys of a RUN.toml, which a function takes as its ``settings``.
    "compress": {"table", "device", "budget", "inputs", "epochs", "out"},
}


def commands() -> dict[str, click.Command]:
    with click.Context(cli) as ctx:
        top = {name: cli.get_command(ctx, name) for name in cli.list_commands(ctx)}
    found = {}
    for name, command in top.items():
        if isinstance(command, click.Group):
            found |= {f"{name}.{inner}": each for inner, each in command.commands.items()}
        elif command is not None:
            found[name] = command
    return found


@pytest.mark.parametrize("name", commands())
def test_a_command_is_a_function_with_the_same_arguments(name: str) -> None:
    command, home = commands()[name], latprof
    group, _, short = name.rpartition(".")
    if group:
        home = getattr(latprof, group)
    function = getattr(home, NAMED.get(name, short))
    parameters = inspect.signature(function).parameters
    asked = {str(p.name) for p in command.params} - TERMINAL - OTHERWISE.get(short, set())
    assert {SPELLED.get(a, a) for a in asked} <= set(parameters)
    assert len((inspect.getdoc(function) or "").splitlines()) > 1 or group
    result = inspect.signature(function, eval_str=False).return_annotation
    assert result not in ("None", "Any", "dict[str, Any]")


def test_names_are_listed_and_load() -> None:
    assert set(latprof.__all__) <= set(dir(latprof))
    for name in latprof.__all__:
        assert (getattr(latprof, name).__doc__ or "").strip(), name


def test_verbs_that_are_packages_too_stay_functions() -> None:
    for name in ("compress", "devices", "report"):
        package = importlib.import_module(f"latprof.{name}")
        assert inspect.isfunction(getattr(latprof, name))
        assert package.__name__ == f"latprof.{name}"
        assert package.__all__
