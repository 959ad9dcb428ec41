"""Weights of a network from a file: a state dict, and nothing that could run code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress.graph import first_line
from latprof.errors import UsageError
from latprof.vocabulary import require

__all__ = ["load_weights"]

#: What nn.DataParallel and torch.compile put before every name.
_PREFIXES = ("module.", "_orig_mod.")


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict into ``model``, of torch.save or ``.safetensors``; names may begin as
    DataParallel has them.

    Raises:
        UsageError: no such file, no state dict, or another network's.
    """
    own = model.state_dict()
    state = _plain_names(_read(path), own)
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or extra:
        what = [f"no {missing[0]}"] if missing else []
        what += [f"{extra[0]}, which the network does not have"] if extra else []
        raise UsageError(
            f"weights {path}: of another network: it has {' and '.join(what)} "
            f"({len(missing)} names missing, {len(extra)} unknown)"
        )
    for name, value in own.items():
        if isinstance(value, Tensor) and value.shape != state[name].shape:
            raise UsageError(
                f"weights {path}: {name} is {tuple(state[name].shape)}; "
                f"expected {tuple(value.shape)}"
            )
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as exc:
        raise UsageError(f"weights {path}: {str(exc).splitlines()[-1].strip()}") from exc


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UsageError(f"weights {path}: no such file")
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise UsageError(
            f"weights {path}: it holds more than tensors, such as a whole pickled model, or is no "
            "file of torch.save; expected torch.save(model.state_dict(), ...)"
        ) from exc
    except Exception as exc:  # whatever damage makes zipfile and pickle raise
        raise UsageError(
            f"weights {path}: torch.load cannot read it ({type(exc).__name__}); "
            "expected a file of torch.save(model.state_dict(), ...)"
        ) from exc
    if not isinstance(found, Mapping) or not all(isinstance(n, str) for n in found):
        raise UsageError(f"weights {path}: it holds {type(found).__name__}; expected a state dict")
    strange = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if strange and not any(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(
            f"weights {path}: it is a checkpoint of {', '.join(list(found)[:4])}; expected a state "
            "dict, as one of these may be: save that alone"
        )
    return found


def _safetensors(path: Path) -> Mapping[str, Any]:
    library = require("safetensors.torch", extra="train", why=f"weights {path}")
    try:
        found: Mapping[str, Any] = library.load_file(path)
    except Exception as exc:  # its own error type is not public
        raise UsageError(
            f"weights {path}: it is damaged, or no safetensors file ({first_line(exc)})"
        ) from exc
    return found


def _plain_names(state: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    while state.keys() != own.keys() and (
        prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), "")
    ):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)
