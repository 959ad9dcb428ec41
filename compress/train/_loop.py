"""Training for those without a loop of their own, on ``accelerate``; resumable to the bit."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latprof.compress._compressor import Compressor
from latprof.compress.graph import Inputs
from latprof.compress.train._batch import model_inputs, moved_to
from latprof.compress.train._datasets import as_batches, epoch_from
from latprof.compress.train._distillation import Distillation
from latprof.compress.train._hardware import Hardware
from latprof.compress.train._saving import Saving
from latprof.compress.train._settings import TrainSettings
from latprof.compress.train._trainable import check_trainable
from latprof.errors import TrainingError, UsageError

__all__ = ["Tick", "train"]

#: The task's loss alone: cross-entropy.
_CROSS_ENTROPY = Distillation()
#: Seconds between two looks at figures that are on an accelerator.
_FETCH_S = 1.0
#: Steps between two things that all processes do together.
_BEAT_STEPS = 10


@dataclass(frozen=True)
class Tick:
    """One step done.

    ``loss`` and ``accuracy`` wait for the accelerator when they are read, and only then.

    Args:
        step, total: steps done, and of the whole phase.
        model: what is trained.
        losses, scores: of the step's batch, before the step, where they were computed, ().
    """

    step: int
    total: int
    model: nn.Module
    losses: Tensor
    scores: Tensor

    @property
    def loss(self) -> float:
        """Of the step's batch."""
        return float(self.losses)

    @property
    def accuracy(self) -> float:
        """The task's figure on the step's batch: of classification a share in [0, 1]."""
        return float(self.scores)


def train(
    model: nn.Module,
    batches: Any,
    settings: TrainSettings,
    *,
    distillation: Distillation = _CROSS_ENTROPY,
    checkpoint: Path | None = None,
    seed: int = 0,
    save_every_s: float = 20.0,
    on_tick: Callable[[Tick], None] = lambda _: None,
) -> None:
    """Train ``model`` in place; a Compressor is trained with its penalty and its steps.

    ``accelerate`` decides where: on the GPU where there is one, and in as many processes as
    ``accelerate launch`` or ``torchrun`` started; of each batch every process takes its share.
    With ``checkpoint`` the state is saved, atomically, every ``save_every_s`` and at the end; the
    same call goes on from it and ends with the same weights as if nothing had happened. Before the
    first step of a Compressor the end of its training is tried, unless it was: see
    ``check_trainable``.

    Args:
        model: in any mode; it ends in eval mode, where it was.
        batches: a torch Dataset or DataLoader, or ``Batches``.
        settings: how long, how fast, and in which precision.
        distillation: the loss.
        checkpoint: file to save to and to go on from.
        seed: of the order of a Dataset, and of what the model draws (dropout).
        save_every_s: seconds of training that a kill may cost.
        on_tick: called after each step.

    Raises:
        TrainingError: the loss is not finite, a row does not load, or fp16 overflows at every step;
            it names step or row. What was saved is as before that step.
        UsageError: the checkpoint is damaged or not of this network, or what training ends in
            would fail.
    """
    data = as_batches(batches, seed=seed)
    if len(data) < 1:
        raise UsageError("batches has no batch; expected at least one per epoch")
    total = settings.steps(len(data))
    channels_last(model)
    torch.manual_seed(seed)
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    resumes = checkpoint is not None and checkpoint.exists()
    if isinstance(model, Compressor) and total and not resumes and not model.is_tried:
        with torch.random.fork_rng():  # training draws what it would have drawn
            first = next(iter(data.epoch(0)))
            check_trainable(
                model, model_inputs(model, first, with_labels=distillation.task.with_labels)
            )
    with Hardware.of(settings) as hardware:
        run = _Training(model, settings, distillation, hardware, total)
        run.resume(Saving(checkpoint, save_every_s, seed))
        model.train()
        while run.step < total:
            epoch, done = divmod(run.step, settings.steps_per_epoch(len(data)))
            start = done * settings.accumulate
            count = settings.steps_per_epoch(len(data)) * settings.accumulate - start
            left = epoch_from(data, epoch, start, hardware.part)
            for batch in itertools.islice(left, count):  # what is not used is not loaded
                if (losses := run.forward_backward(batch, epoch)) is not None:
                    on_tick(Tick(run.step, total, model, *losses))
    model.to(home)
    model.eval()


class _Training:
    """One call of ``train``: the model, its optimizer, and how far it is."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        distillation: Distillation,
        hardware: Hardware,
        total: int,
    ) -> None:
        self.model, self.settings, self.total = model, settings, total
        self.distillation, self.hardware = distillation, hardware
        self.step = 0
        model.to(hardware.device)
        if distillation.teacher is not None:
            distillation.teacher.to(hardware.device)
        optimizer = settings.make_optimizer(model.parameters())
        #: Of the peak learning rate, per group of a callable's optimizer.
        self._shares = [group["lr"] / settings.lr for group in optimizer.param_groups]
        self.wrapped, self.optimizer = hardware.prepare(model, optimizer)
        self._loss = self._score = torch.zeros((), device=hardware.device)
        #: The first step whose loss is not finite; 0: none.
        self._failed = torch.zeros((), dtype=torch.int64, device=hardware.device)
        self._fetched_at = time.monotonic()
        self._epoch = 0

    def resume(self, saving: Saving) -> None:
        """Go on from the checkpoint, where there is one."""
        self.saving = saving
        self.step = saving.load(self.model, self.optimizer, self.hardware)

    def forward_backward(self, batch: Any, epoch: int) -> tuple[Tensor, Tensor] | None:
        """One batch; with the last of an accumulation also the step, after which it returns loss
        and score, each (), of the batches since the last."""
        self._epoch = epoch
        hardware, task = self.hardware, self.distillation.task
        batch = moved_to(batch, hardware.device)
        with hardware.accumulating(self.wrapped):
            rate = self._rate()
            for group, share in zip(self.optimizer.param_groups, self._shares, strict=True):
                group["lr"] = share * rate
            with hardware.convolving(), hardware.autocast(), self._told_of_labels():
                inputs: Inputs = model_inputs(self.model, batch, with_labels=task.with_labels)
                outputs = self.wrapped(*inputs.args, **inputs.kwargs)
                loss = self.distillation.loss(outputs, batch)
                score = _score(self.distillation, outputs, batch)
                steps = hardware.steps_now
                if steps and isinstance(self.model, Compressor):
                    # accelerate divides what is accumulated; the penalty is added once
                    loss = loss + self.model.penalty() * self.settings.accumulate
            hardware.backward(loss)
            self._look_at(loss.detach())
            self._loss = self._loss + loss.detach() / self.settings.accumulate
            self._score = self._score + score / self.settings.accumulate
            if not steps:
                return None
            self._finish_step()
        found = self._loss, self._score
        self._loss = self._score = torch.zeros_like(self._loss)
        return found

    @contextmanager
    def _told_of_labels(self) -> Iterator[None]:
        """A label that has no output, which torch refuses on a CPU, is named by its step."""
        try:
            yield
        except IndexError as exc:
            if "out of bounds" not in str(exc):
                raise
            raise TrainingError(
                f"a label of step {self.step + 1} of {self.total} has no output of the network "
                f"({exc}); mend the labels, or give the network as many outputs as classes"
            ) from exc

    def _rate(self) -> float:
        """The learning rate of the step, which the method may have a say in."""
        of_method = self.model.rate() if isinstance(self.model, Compressor) else 1.0
        return of_method * self.settings.rate(self.step / self.total)

    def _finish_step(self) -> None:
        if self._due():
            self._check()
        if self.settings.clip_norm:
            self.hardware.clip(self.model, self.settings.clip_norm)
        self.optimizer.step()
        if isinstance(self.model, Compressor):
            self.model.step()
        self.optimizer.zero_grad()
        self.step += 1
        ends = self.step == self.total
        if self.saving.due(self.step, ends, self.hardware, _BEAT_STEPS):
            self._check()
            self.saving.save(self.model, self.optimizer, self.hardware, self.step)

    def _look_at(self, loss: Tensor) -> None:
        failing = ~loss.isfinite() & (self._failed == 0)
        self._failed = torch.where(failing, self.step + 1, self._failed)

    def _due(self) -> bool:
        """Whether the loss is looked at now: on a CPU always, else once a second."""
        if self.hardware.part[1] > 1:
            return (self.step + 1) % _BEAT_STEPS == 0 or self.step + 1 == self.total
        now = time.monotonic()
        if self.hardware.device.type == "cpu" or now - self._fetched_at >= _FETCH_S:
            self._fetched_at = now
            return True
        return False

    def _check(self) -> None:
        failed = int(self.hardware.largest(self._failed))
        settings = self.settings
        if failed:
            raise TrainingError(
                f"the loss is {self._told()} at step {failed} of {self.total} (epoch "
                f"{self._epoch + 1}); try a smaller lr (now {settings.lr:g}), or look for NaN in "
                "the data"
            )
        if self.hardware.overflowing():
            raise TrainingError(
                f"gradients overflow fp16 at each step up to {self.step + 1} of {self.total}; try "
                'precision = "bf16"'
            )

    def _told(self) -> str:
        value = float(self._loss)
        return f"{value}" if value != value or abs(value) == float("inf") else "not finite"


def channels_last(model: nn.Module) -> None:
    """Images' channels last in memory, which convolutions of images are faster with."""
    if all(p.ndim != 5 for p in model.parameters()):
        model._apply(_channels_last)  # type: ignore[no-untyped-call]


def _channels_last(tensor: Tensor) -> Tensor:
    """Of images or of weights of convolutions; ``Module.to`` refuses a buffer of five dims."""
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _score(distillation: Distillation, outputs: Any, batch: Any) -> Tensor:
    with torch.no_grad():
        total, count = distillation.task.score(outputs, batch)
        return (total / count.clamp_min(1)).detach()
