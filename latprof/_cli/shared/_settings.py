"""Options that several commands take, such as ``--set NAME=VALUE``, and what they hold."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from latprof.errors import UsageError

__all__ = ["model_options", "settings_options", "whole_numbers"]


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command ``--set`` and ``--benchmark-model``, as one dict named ``settings``."""

    @click.option(
        "--set",
        "pairs",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the device or the runtime, such as delegate=GPU; may be repeated.",
    )
    @click.option(
        "--benchmark-model",
        metavar="PATH",
        help="For phones: benchmark_model for their ABI, its address, or download for LiteRT's.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, pairs: tuple[str, ...], benchmark_model: str | None, **kw: Any) -> None:
        settings = dict(_pair(pair) for pair in pairs)
        if benchmark_model:
            settings["benchmark_model"] = benchmark_model
        command(*args, settings=settings, **kw)

    return wrapped


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command ``--input``, as one dict named ``inputs``, and ``--trust``."""

    @click.option(
        "--input",
        "input_shapes",
        multiple=True,
        metavar="NAME=1x3x224x224",
        help="Shape of an input whose dims a file leaves open; may be repeated.",
    )
    @click.option(
        "--trust",
        is_flag=True,
        help="Load a .pt2 file whatever it holds: such a file can run any code.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, input_shapes: tuple[str, ...], **kw: Any) -> None:
        command(*args, inputs=dict(_shape(text) for text in input_shapes), **kw)

    return wrapped


def whole_numbers(option: str, text: str, example: str) -> list[int]:
    """Of an option that takes several, as in ``1,64``."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise click.UsageError(
            f"{option} is {text!r}; expected whole numbers >= 1, as in {example}"
        )
    return numbers


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = text.partition("=")
    parts = sizes.split("x")
    if not equals or not name or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UsageError(f"--input is {text!r}; expected NAME=1x3x224x224")
    return name, tuple(map(int, parts))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--set is {text!r}; expected NAME=VALUE, such as delegate=GPU")
    return name, value
