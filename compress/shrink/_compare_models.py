"""Two modules run on the same inputs, and compared.

What rounding may explain is bounded; float64 decides where float32 is not enough, and from the
start where parameters are of half precision. A difference counts only where the original agrees
with itself on the same inputs: a forward that draws numbers is named instead.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from latprof.compress.graph import Inputs, copy_model, culprit, evaluating, first_line, flat_outputs
from latprof.compress.shrink._agreement import (
    TOLERANCE,
    Agreement,
    compare_outputs,
    has_nan,
    relative_error,
)
from latprof.errors import ShrinkError

__all__ = [
    "MAX_ROUNDING",
    "compare_models",
    "comparing",
    "float64_outputs",
    "is_half",
    "proof_inputs",
    "random_inputs",
    "repeat_fault",
    "rounding_error",
]

#: Beyond this a relative difference in float32 is not rounding.
MAX_ROUNDING = 1e-2

#: Relative rounding of float32, and how often weights are rounded at random.
_UNIT, _DRAWS = 2.0**-24, 4

#: How the original runs: (module, inputs) -> outputs. By default the module is called.
Forward = Callable[[nn.Module, Inputs], Any]


def compare_models(
    original: nn.Module,
    changed: nn.Module,
    inputs: Inputs,
    *,
    forward: Forward | None = None,
    limit: float = TOLERANCE,
) -> Agreement:
    """Compare what two modules compute in eval mode.

    Args:
        original, changed: run in their own precision, and in float64 where that leaves a doubt.
        inputs: from ``proof_inputs``.
        forward: how the original runs, where it is not just called; it is given the original or
            its copy in float64.
        limit: largest relative error that counts as agreement.

    Raises:
        ShrinkError: the changed module's forward fails.
    """
    run = forward or _call
    half, doubtful = is_half(original), False
    if not half:
        found = _compared(original, changed, inputs, run, limit)
        if found.holds:
            return found
        doubtful = limit < found.error <= MAX_ROUNDING
    if half or doubtful:
        exact = _compared_in_float64(original, changed, inputs, run, limit)
        if exact is not None:
            found = exact
        elif half:
            found = _compared(original, changed, inputs, run, limit)
            if not found.holds and not found.fault:
                coarse = "it runs in half precision alone, which is too coarse to compare in"
                found = replace(found, fault=coarse)
        else:
            found = replace(found, limit=max(limit, TOLERANCE))
    if not found.holds and (fault := repeat_fault(original, inputs, forward=run)):
        return Agreement(float("inf"), limit, fault)
    return found


def repeat_fault(model: nn.Module, inputs: Inputs, *, forward: Forward | None = None) -> str:
    """Why nothing can be compared with this model: its own answer holds NaN, or is another one
    when it is asked twice. Empty where neither is so."""
    run = forward or _call
    with comparing(model):
        first, second = (flat_outputs(run(model, inputs)) for _ in range(2))
        for i, output in enumerate(first):
            if has_nan(output):
                return f"output {i} of the original network holds NaN"
        error = compare_outputs(first, second).error
        if error <= (MAX_ROUNDING if is_half(model) else TOLERANCE):
            return ""
        ops = _drawing_ops(lambda: run(model, inputs))
    drawn = f" ({', '.join(ops)})" if ops else ""
    return (
        f"the original network draws numbers{drawn}: on the same inputs it answers {error:.2g} off"
    )


def proof_inputs(model: nn.Module, example: Inputs, *, seed: int = 0) -> Inputs:
    """Random inputs of the example's shapes, or the example where random ones make the model fail
    or answer NaN, as where it takes their logarithm; on the model's device, as far as the example
    lies elsewhere."""
    device = next((p.device for p in model.parameters()), None)
    if device is not None and device.type != "cpu":
        example = _map_tensors(lambda value: value.to(device), example)
    drawn = random_inputs(example, seed)
    with comparing(model):
        try:
            outputs = flat_outputs(model(*drawn.args, **drawn.kwargs))
        except Exception:  # noqa: BLE001  whatever it is, the example does not raise it
            return example
        return example if any(has_nan(t) for t in outputs) else drawn


def random_inputs(inputs: Inputs, seed: int) -> Inputs:
    """Inputs of the same shapes, floating ones drawn from a normal; others as they are."""
    generator = torch.Generator().manual_seed(seed)

    def draw(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value
        return torch.randn(value.shape, generator=generator).to(value.device, value.dtype)

    return _map_tensors(draw, inputs)


def float64_outputs(
    model: nn.Module, inputs: Inputs, *, forward: Forward | None = None
) -> list[Tensor] | None:
    """What the model computes in float64, where rounding is none; None where it insists on its own
    precision."""
    try:
        double = copy_model(model).double()
        with comparing(double):
            return flat_outputs((forward or _call)(double, _doubled(inputs)))
    except RuntimeError:
        return None


def rounding_error(model: nn.Module, inputs: Inputs, exact: list[Tensor]) -> float:
    """Largest relative change of the float64 answer ``exact`` where each weight is off by float32's
    rounding: what any order of the same arithmetic may be off by. It is large where an answer is
    small, as a logit near 0, beside what it is the difference of."""
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(_DRAWS):
        double = copy_model(model).double()
        with comparing(double):
            for weight in double.parameters():
                drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
                weight.mul_(1 + _UNIT * drawn.to(weight.device))
            found = flat_outputs(_call(double, _doubled(inputs)))
        worst = max(worst, relative_error(exact, found))
    return worst


@contextlib.contextmanager
def comparing(*models: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, TF32 or attention's fast path, whose answers at padded places
    are others."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
        for model in models:
            stack.enter_context(evaluating(model))
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def is_half(model: nn.Module) -> bool:
    """True where any parameter or buffer is coarser than float32."""
    floating = (
        t.dtype
        for t in itertools.chain(model.parameters(), model.buffers())
        if t.is_floating_point()
    )
    return any(torch.finfo(d).eps > torch.finfo(torch.float32).eps for d in floating)


def _compared(
    original: nn.Module, changed: nn.Module, inputs: Inputs, run: Forward, limit: float
) -> Agreement:
    with comparing(original, changed):
        try:  # the changed one first: where it fails, the original need not run
            got = flat_outputs(changed(*inputs.args, **inputs.kwargs))
        except Exception as exc:
            raise ShrinkError(
                f"{type(original).__name__}: the small network's forward fails"
                f"{culprit(changed, exc)}: {first_line(exc)}"
            ) from exc
        return compare_outputs(flat_outputs(run(original, inputs)), got, limit=limit)


def _compared_in_float64(
    original: nn.Module, changed: nn.Module, inputs: Inputs, run: Forward, limit: float
) -> Agreement | None:
    """None for a model that insists on its own precision."""
    try:
        models = copy_model(original).double(), copy_model(changed).double()
        return _compared(*models, _doubled(inputs), run, limit)
    except (RuntimeError, ShrinkError):
        return None


def _call(model: nn.Module, inputs: Inputs) -> Any:
    return model(*inputs.args, **inputs.kwargs)


def _doubled(inputs: Inputs) -> Inputs:
    return _map_tensors(lambda t: t.double() if t.is_floating_point() else t, inputs)


def _map_tensors(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:

    tree = pytree.tree_map_only(Tensor, change, (inputs.args, inputs.kwargs))
    return type(inputs)(*tree)


def _drawing_ops(call: Callable[[], Any]) -> list[str]:
    """Names of the ops of one forward that draw random numbers."""
    watch = _Watch()
    with watch:
        call()
    return list(watch.drawing)


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drawing: dict[str, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.drawing[func.overloadpacket.__name__.strip("_")] = None
        return func(*args, **(kwargs or {}))
