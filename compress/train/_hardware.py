"""Where and in which precision a training runs, as ``accelerate`` decides it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from torch import Tensor, distributed, nn

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
