"""Deep copies of models, whatever their forward left on them."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from latprof.errors import UsageError

__all__ = ["copy_model"]

M = TypeVar("M", bound=nn.Module)


def copy_model(model: M, memo: dict[int, Any] | None = None) -> M:
    """``copy.deepcopy(model, memo)``.

    Activations that a forward kept on a module are copied without their history, which torch
    refuses to copy.

    Raises:
        UsageError: something else on a module cannot be copied; names it.
    """
    memo = {} if memo is None else memo
    with _Detaching():
        try:
            return copy.deepcopy(model, memo)
        except Exception as exc:
            if (name := _uncopyable(model)) is None:
                raise
            raise UsageError(
                f"{type(model).__name__}: {name} cannot be copied ({exc}), and a smaller network "
                "is a copy; keep it outside of the model, or give its class __deepcopy__"
            ) from exc


class _Detaching(TorchFunctionMode):
    """Within, tensors with a history are copied without it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            memo[id(tensor)] = copied = tensor.detach().clone()
            return copied
        return func(*args, **(kwargs or {}))


def _uncopyable(model: nn.Module) -> str | None:
    """The first attribute, by the path of its module, that alone cannot be copied."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ("_modules", "_parameters", "_buffers"):
                try:
                    copy.deepcopy(value)
                except Exception:  # noqa: BLE001  whatever the object raises
                    return f"{path}.{name}" if path else name
    return None
