"""Exporters talk; our errors say it in one line instead."""

from __future__ import annotations

import contextlib
import io
import linecache
import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from latprof.errors import LatprofError

__all__ = ["culprit", "first_line", "quiet"]

_LOGGERS = (
    "torch",
    "torch.fx",
    "torch.export",
    "torch._dynamo",
    "torch.onnx",
    "onnxscript",
    "onnx_ir",
)
_OURS = (str(Path(torch.__file__).parent), str(Path(__file__).parent.parent))

_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
#: How torch's ONNX exporter names the node that it fails at.
_TRANSLATED = re.compile(r"translating node .*\[target=torch\.ops\.\w+\.(\w+)")
_MAX_LINE = 300


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress, warnings or dumps of torch's exporters; what they raise still goes through."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def first_line(exc: BaseException) -> str:
    """``RuntimeError: what it says first``, of the innermost cause, without terminal colors; and
    the op that was being translated, where the exporter names one."""
    chain = [exc]
    while (cause := chain[-1].__cause__) is not None and not isinstance(chain[-1], LatprofError):
        chain.append(cause)
    text = _COLORS.sub("", str(chain[-1]))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    name = type(chain[-1]).__name__
    said = f"{name}: {lines[0]}" if lines else name
    ops = [found[1] for e in chain if (found := _TRANSLATED.search(str(e)))]
    return f"{said[:_MAX_LINE]} (at {ops[-1]})" if ops and ops[-1] not in said else said[:_MAX_LINE]


def culprit(model: nn.Module, exc: BaseException) -> str:
    """`` in MODULE at FILE:LINE: code`` of the user's innermost line, or nothing."""
    names = {id(m): name for name, m in model.named_modules()}
    found = ""
    for frame, line in traceback.walk_tb(exc.__traceback__):
        file = frame.f_code.co_filename
        if file.startswith((*_OURS, "<")):
            continue
        owner = names.get(id(frame.f_locals.get("self")))
        where = f" in {owner or type(model).__name__}" if owner is not None else ""
        code = linecache.getline(file, line).strip()
        found = f"{where} at {Path(file).name}:{line}: {code}" if code else where
    return found
