"""Where and in which precision a training runs, as ``accelerate`` decides it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from latprof.compress.train._settings import TrainSettings
from latprof.errors import UsageError
from latprof.vocabulary import Closing, require

__all__ = ["Hardware"]

#: A loss scale below this means that every step overflows.
_LEAST_SCALE = 2.0**-10


class Hardware(Closing):
    """An ``Accelerator`` for one training; a context, after which the model is its own again.

    Attributes:
        device: where the model is trained.
        part: (this process, number of processes).
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._prepared: list[Any] = []
        self.device: torch.device = accelerator.device
        self.part: tuple[int, int] = (accelerator.process_index, accelerator.num_processes)

    @classmethod
    def of(cls, settings: TrainSettings) -> Self:
        """As settings, environment and hardware have it.

        Raises:
            MissingExtraError: accelerate is not installed.
            UsageError: the precision is not one of this hardware.
        """
        accelerate = require("accelerate", extra="train", why="training")
        precision = None if settings.precision == "auto" else settings.precision
        accelerate.state.AcceleratorState._reset_state()  # the phase before may have had another
        try:
            return cls(
                accelerate.Accelerator(
                    mixed_precision=precision,
                    gradient_accumulation_steps=settings.accumulate,
                    kwargs_handlers=[
                        accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)
                    ],
                )
            )
        except ValueError as exc:
            raise UsageError(f"precision {settings.precision}: {exc}") from exc

    def close(self) -> None:
        """The model is its own again."""
        for module in self._prepared:
            self._accelerator.unwrap_model(module, keep_fp32_wrapper=False)
        self._accelerator.free_memory()

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """The model and its optimizer as ``accelerate`` wraps them."""
        wrapped, optimizer = self._accelerator.prepare(model, optimizer)
        self._prepared.append(wrapped)
        return wrapped, optimizer

    def accumulating(self, wrapped: Any) -> AbstractContextManager[Any]:
        """Within, gradients are exchanged between processes only with the last batch of a step."""
        context: AbstractContextManager[Any] = self._accelerator.accumulate(wrapped)
        return context

    @property
    def steps_now(self) -> bool:
        """Whether the optimizer steps with this batch."""
        return bool(self._accelerator.sync_gradients)

    def autocast(self) -> AbstractContextManager[Any]:
        """The loss, too, is computed in the precision of the training."""
        context: AbstractContextManager[Any] = self._accelerator.autocast()
        return context

    def convolving(self) -> AbstractContextManager[Any]:
        """A forward within has the fastest backward of its convolutions that there is here."""
        return _PaddedFirst() if self.device.type == "cpu" else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Gradients of a batch, scaled where the precision asks for it."""
        self._accelerator.backward(loss)

    def clip(self, model: nn.Module, norm: float) -> None:
        """Scale gradients down to a norm."""
        self._accelerator.clip_grad_norm_(model.parameters(), norm)

    def overflowing(self) -> bool:
        """Whether fp16's loss scale has fallen so far that no step can be made."""
        scaler = self._accelerator.scaler
        return scaler is not None and float(scaler.get_scale()) < _LEAST_SCALE

    def scaler_state(self, load: dict[str, Any] | None = None) -> dict[str, Any]:
        """State of fp16's loss scale; ``load`` replaces it."""
        scaler = self._accelerator.scaler
        if scaler is None:
            return {}
        if load:
            scaler.load_state_dict(load)
        return dict(scaler.state_dict())

    def largest(self, tensor: Tensor) -> Tensor:
        """Of all processes'."""
        if self.part[1] > 1:
            distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
        return tensor

    def gathered(self, value: Any) -> list[Any]:
        """The value of each process, in order."""
        if self.part[1] == 1:
            return [value]
        values: list[Any] = [None] * self.part[1]
        distributed.all_gather_object(values, value)
        return values


class _PaddedFirst(TorchFunctionMode):
    """Depthwise convolutions of maps smaller than their kernel get padded maps instead of padding.

    They compute the same. Gradients of the others are left to a reference in oneDNN, and take 1.5
    to 6 times as long: most of the training of MobileNetV3 on images of 28 pixels.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d and torch.is_grad_enabled() and not _recomputes():
            return func(*_padded_first(*args, **kwargs))
        return func(*args, **kwargs)


def _recomputes() -> bool:
    """Whether backward may compute again what is computed now, which it does outside the mode."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


def _padded_first(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Any, ...]:
    """Arguments of ``torch.conv2d``, the map padded before where that is faster."""
    if (
        input.ndim == 4
        and 1 < groups == weight.shape[0] == input.shape[1]
        and not isinstance(padding, str)
        and dilation in (1, (1, 1))
        and input.is_contiguous(memory_format=torch.channels_last)
        and any(
            size < kernel for size, kernel in zip(input.shape[2:], weight.shape[2:], strict=True)
        )
    ):
        high, wide = (padding, padding) if isinstance(padding, int) else padding
        input, padding = functional.pad(input, (wide, wide, high, high)), 0
    return input, weight, bias, stride, padding, dilation, groups
