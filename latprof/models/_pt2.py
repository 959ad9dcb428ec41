"""Exported programs (.pt2): loaded so that a crafted file runs no code.

``torch.export.load`` unpickles whatever a file holds, evaluates the sizes in it with sympy, and
writes its names into Python source. So every part is looked at first: only the parts that
``torch.export.save`` writes for plain tensors, only names where names stand, only arithmetic where
sizes stand, and tensors are unpickled with ``weights_only``. What is not known is refused.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latprof.compress.graph import Inputs, first_line, quiet
from latprof.errors import ModelLoadError

__all__ = ["load_pt2"]

#: Members of the archive, under its one root folder.
_MEMBERS = re.compile(
    r"(models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|version|\.data/(version|serialization_id))"
)
_NAME = re.compile(r"[\w.:\- ]*")
_TREE = re.compile(r"[\w.:\- \[\]{},\"\\]*")
_TARGET = re.compile(r"(torch\.ops\.|torch\.sym_|_operator\.|math\.)\w+(\.\w+)*")
#: Of the model's JSON: text that torch keeps as text, and guards, which are not run.
_TEXT = {"metadata", "as_string", "as_strings", "torch_version", "guards_code"}
_SPECS = {"in_spec", "out_spec"}
#: What torch writes sizes with.
_ARITHMETIC = {
    "Abs", "Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Eq", "Equality", "FloatPow",
    "FloatTrueDiv", "FloorDiv", "FloorToInt", "GreaterThan", "Integer", "IntTrueDiv",
    "LessThan", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not", "Or", "Piecewise",
    "Pow", "PowByNatural", "PythonMod", "Rational", "StrictGreaterThan", "StrictLessThan",
    "Symbol", "ToFloat", "TruncToInt", "Unequality", "Where",
}  # fmt: skip
_NODES = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Name, ast.Load,
    ast.Constant, ast.keyword, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def load_pt2(path: Path, *, trust: bool) -> tuple[nn.Module, Any, str]:
    """(module, example inputs, name) of an exported program.

    Args:
        trust: load it whatever it holds, which can run any code.

    Raises:
        ModelLoadError: no such file, no exported program, or one that is not safe to load.
    """
    if not path.is_file():
        raise ModelLoadError(f"MODEL {path}: no such file")
    if not trust:
        _check(path)
    try:
        with quiet(), warnings.catch_warnings(), _weights_only(not trust):
            warnings.simplefilter("ignore")
            program = torch.export.load(str(path))
            module = _module(program, guards=trust)
    except pickle.UnpicklingError as exc:
        raise ModelLoadError(_refusal(path, "it pickles more than tensors")) from exc
    except Exception as exc:
        raise ModelLoadError(f"MODEL {path}: not an exported program: {first_line(exc)}") from exc
    if program.example_inputs is None:
        raise ModelLoadError(f"MODEL {path}: it was saved without example inputs")
    args, kwargs = program.example_inputs
    inputs = Inputs(tuple(args), dict(kwargs)) if args and kwargs else kwargs or tuple(args)
    return module, inputs, path.stem


def _module(program: torch.export.ExportedProgram, *, guards: bool) -> nn.Module:
    """The program's module; checks of its inputs are code in the file."""
    known = "check_guards" in inspect.signature(program.module).parameters
    module = program.module(check_guards=guards) if known else program.module()
    for name in ("train", "eval"):  # torch makes them raise; its ops are fixed, whatever the mode
        vars(module).pop(name, None)
    return module


@contextmanager
def _weights_only(wanted: bool) -> Iterator[None]:
    """``torch.load`` unpickles nothing but tensors, whoever calls it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    if wanted:
        os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _check(path: Path) -> None:
    """Raises ModelLoadError for anything but tensors and ops on them."""
    try:
        _check_archive(path)
    except _UnsafeError as exc:
        raise ModelLoadError(_refusal(path, str(exc))) from exc
    except Exception as exc:
        raise ModelLoadError(f"MODEL {path}: not an exported program: {first_line(exc)}") from exc


def _refusal(path: Path, what: str) -> str:
    return (
        f"MODEL {path}: {what}, which could run code when loaded; give --trust if you know where "
        "the file comes from"
    )


class _UnsafeError(Exception):
    """Something that is more than tensors and ops."""


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise _UnsafeError("it holds two parts of one name")
        for name in names:
            if not _MEMBERS.fullmatch(name.partition("/")[2]):
                raise _UnsafeError(f"it holds {name[:80]!r}")
            data = archive.read(name)
            if name.endswith(".json"):
                _check_json(json.loads(data), "")
            elif name.endswith(".pt"):
                try:
                    torch.load(io.BytesIO(data), weights_only=True)
                except Exception as exc:
                    raise _UnsafeError(f"{name} pickles more than tensors") from exc


def _check_json(value: Any, key: str) -> None:
    if key in _TEXT:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name, _NAME)
            _check_json(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check_json(inner, key)
    elif isinstance(value, str):
        if key == "expr_str":
            _check_size(value)
        else:
            _check_text(value, {"target": _TARGET}.get(key, _TREE if key in _SPECS else _NAME))


def _check_text(text: str, expected: re.Pattern[str]) -> None:
    if not expected.fullmatch(text):
        raise _UnsafeError(f"it holds {text[:80]!r} where a name stands")


def _check_size(text: str) -> None:
    """A size is arithmetic of symbols."""
    for node in ast.walk(ast.parse(text, mode="eval")):
        if not isinstance(node, _NODES) or not _is_arithmetic(node):
            raise _UnsafeError(f"it holds {text[:80]!r} where a size stands")


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _ARITHMETIC
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.isidentifier()
    return True
