"""What would fail at the end of a training is tried before its first step."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress._compressor import Compressor
from latprof.compress.export import export
from latprof.compress.graph import Inputs, copy_model, culprit, first_line, flat_outputs
from latprof.errors import LatprofError, UsageError

__all__ = ["check_trainable", "lagging_statistics"]

#: Statistics that keep less than this of what they were have followed the training.
_KEPT = 0.05


def lagging_statistics(model: nn.Module, steps: int) -> str:
    """What to tell of batch norms that follow so many steps of training too slowly; empty where
    none does. Running statistics keep (1 - momentum)^steps of what they were.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    slowest = min((m.momentum for m in norms if m.track_running_stats and m.momentum), default=1.0)
    kept = (1 - slowest) ** steps
    if kept <= _KEPT:
        return ""
    return (
        f"batch norms of momentum {slowest:g} keep {kept:.0%} of their old statistics after "
        f"{steps} steps, and the network is judged by them; set their momentum to 0.1, or train "
        "longer"
    )


def check_trainable(comp: Compressor, inputs: Any = None, *, suffix: str | None = None) -> None:
    """Try on a copy all that a training and its end will need; ``comp`` stays as it is.

    A forward in training mode and its backward; a smaller network, chosen at random within the
    budgets; that network's forward and backward in training mode, for it may be fine-tuned; and
    its export. It takes as long as a few steps, and an export.

        comp = Compressor(model, example_inputs, surrogate, "60%")
        check_trainable(comp, first_batch, suffix=".onnx")

    Args:
        comp: before its first step.
        inputs: of one step: a tensor, a tuple of positional inputs, or a dict of named ones; by
            default the example inputs, which may be of too small a batch for a batch norm.
        suffix: of the file that will be exported, ``.onnx`` or ``.tflite``; None: none will.

    Raises:
        UsageError: what would fail, by module, and the way out.
    """
    given = comp.graph.inputs if inputs is None else Inputs.of(inputs)
    name = type(comp.model).__name__
    with torch.random.fork_rng():
        trial = _copied(comp)
        with _telling(f"{name}: its forward fails in training mode", trial.model):
            _backward(trial.train(), given)
        if trial.alpha.grad is None or not trial.alpha.grad.isfinite().all():
            state = "no gradient" if trial.alpha.grad is None else "a gradient that is not finite"
            raise UsageError(
                f"{name}: its masks have {state} in training mode; expected outputs that are "
                "finite and depend on the weights"
            )
        used = _with_gradient(trial.model)
        small = _at_random(trial, name)
        try:
            _backward(small.train(), given)
        except LatprofError:
            raise
        except Exception as exc:
            raise UsageError(_untrainable(name, trial, small, used, given, exc)) from exc
        if suffix is not None:
            with tempfile.TemporaryDirectory() as folder:
                example = comp.graph.inputs
                export(small.eval(), example.kwargs or example.args, Path(folder, f"x{suffix}"))
    comp.is_tried = True


def _copied(comp: Compressor) -> Compressor:
    """All but what measures, which may hold a device."""
    return copy_model(comp, {id(comp.measure): {}})


def _at_random(trial: Compressor, name: str) -> nn.Module:
    """The smaller network, were each unit's importance a random number."""
    if trial.importance is not None:
        generator = torch.Generator().manual_seed(0)
        trial.importance.copy_(torch.rand(len(trial.alpha), generator=generator))
    trial.zero_grad()
    with _telling(f"{name}: it cannot be shrunk as it is", trial.model):
        return trial.snapshot(1.0)[0]


def _backward(module: nn.Module, inputs: Inputs) -> None:
    """Forward and backward of the sum of all outputs that have a gradient."""
    outputs = [
        t
        for t in flat_outputs(module(*inputs.args, **inputs.kwargs))
        if t.requires_grad and t.is_floating_point()
    ]
    if not outputs:
        raise UsageError("no output has a gradient; expected at least one that weights lead to")
    total: Tensor = torch.stack([t.float().sum() for t in outputs]).sum()
    total.backward()  # type: ignore[no-untyped-call]


@contextmanager
def _telling(what: str, model: nn.Module) -> Iterator[None]:
    """Errors of a model's code become one line."""
    try:
        yield
    except LatprofError as exc:
        raise UsageError(f"{what}: {exc}") from exc
    except Exception as exc:
        raise UsageError(f"{what}{culprit(model, exc)}: {first_line(exc)}") from exc


def _with_gradient(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.grad is not None}


def _untrainable(
    name: str,
    trial: Compressor,
    small: nn.Module,
    used: set[str],
    inputs: Inputs,
    exc: Exception,
) -> str:
    """Why the smaller network does not train: parameters that only training uses are not cut."""
    trial.zero_grad()
    try:
        _backward(trial.eval(), inputs)
        training_only = sorted(used - _with_gradient(trial.model))
    except Exception:  # noqa: BLE001  a forward that has no gradient in eval mode
        training_only = []
    where = f"{culprit(small, exc)}: {first_line(exc)}"
    if not training_only:
        return f"{name}: the smaller network fails in training mode{where}"
    named = ", ".join(training_only)
    return (
        f"{name}: the smaller network fails in training mode{where}; {named} are used in training "
        "mode alone, where nothing is traced, and stay whole: remove that head before, or keep "
        "what it reads with Prune(exclude=...)"
    )
