"""A plain training loop for those without their own: AdamW, cosine, distillation, checkpoints."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from latprof.compress._compressor import Compressor
from latprof.errors import UsageError

__all__ = ["Batches", "Distillation", "TensorBatches", "Tick", "TrainSettings", "accuracy", "train"]


class Batches(Protocol):
    """Training data. Law: ``epoch(e)`` gives the same batches in the same order every time."""

    def __len__(self) -> int:
        """Batches per epoch."""

    def epoch(self, number: int) -> Iterable[tuple[Tensor, Tensor]]:
        """Inputs (B, ...) and labels (B,) of one epoch."""


@dataclass(frozen=True)
class TensorBatches:
    """Images (N, C, H, W) and labels (N,) in memory; shuffled, and flipped at random, by the seed
    and the epoch."""

    images: Tensor
    labels: Tensor
    batch: int = 128
    seed: int = 0

    def __len__(self) -> int:
        return len(self.images) // self.batch

    def epoch(self, number: int) -> Iterable[tuple[Tensor, Tensor]]:
        dice = torch.Generator().manual_seed(1_000_003 * self.seed + number)
        order = torch.randperm(len(self.images), generator=dice)
        for index in range(len(self)):
            chosen = order[index * self.batch : (index + 1) * self.batch]
            flip = torch.rand(len(chosen), generator=dice) < 0.5
            images = self.images[chosen]
            images[flip] = images[flip].flip(3)
            yield images.contiguous(memory_format=torch.channels_last), self.labels[chosen]


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast to train.

    Args:
        epochs: passes over the data.
        lr: AdamW's peak learning rate.
        final: the learning rate at the end as a share of the peak; cosine between.
        warmup: share of the steps that climb linearly to the peak.
    """

    epochs: int
    lr: float = 4e-3
    final: float = 0.0
    warmup: float = 0.1
    weight_decay: float = 0.05

    def rate(self, progress: float) -> float:
        """Learning rate at ``progress`` in [0, 1)."""
        if progress < self.warmup:
            return self.lr * (progress / self.warmup)
        falling = (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2
        return self.lr * (self.final + (1 - self.final) * falling)


@dataclass(frozen=True)
class Distillation:
    """Cross-entropy mixed with what the original network says (Hinton et al., arXiv:1503.02531).

    loss = (1 - coefficient) * CE + coefficient * T^2 * KL(teacher / T || student / T)
    """

    teacher: nn.Module | None = None
    coefficient: float = 0.5
    temperature: float = 3.0

    def loss(self, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        hard = functional.cross_entropy(logits, labels)
        if self.teacher is None:
            return hard
        with torch.no_grad():
            taught = self.teacher(inputs)
        t = self.temperature
        soft = functional.kl_div(
            functional.log_softmax(logits / t, -1),
            functional.log_softmax(taught / t, -1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.coefficient) * hard + self.coefficient * t * t * soft


@dataclass(frozen=True)
class Tick:
    """One step done.

    Args:
        loss, accuracy: of the step's batch, before the step; accuracy is a share in [0, 1].
    """

    step: int
    total: int
    loss: float
    accuracy: float
    model: nn.Module


def train(
    model: nn.Module,
    batches: Batches,
    recipe: TrainSettings,
    *,
    distillation: Distillation = Distillation(),
    checkpoint: Path | None = None,
    seed: int = 0,
    save_every_s: float = 20.0,
    on_tick: Callable[[Tick], None] = lambda _: None,
) -> None:
    """Train ``model`` in place; a Compressor is trained with its penalty and its steps.

    With ``checkpoint`` the state is saved, atomically, every ``save_every_s`` and at the end; the
    same call goes on from it and ends with the same weights as if nothing had happened.

    Raises:
        UsageError: the checkpoint is not of this network.
    """
    total = recipe.epochs * len(batches)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(seed)
    step = _resume(model, optimizer, checkpoint)
    saved_at = time.monotonic()
    model.train()
    while step < total:
        epoch, skip = divmod(step, len(batches))
        for inputs, labels in itertools.islice(batches.epoch(epoch), skip, None):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step / total)
            logits = model(inputs)
            loss = distillation.loss(logits, inputs, labels)
            if isinstance(model, Compressor):
                loss = loss + model.penalty()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if isinstance(model, Compressor):
                model.step()
            step += 1
            if checkpoint and (step == total or time.monotonic() - saved_at >= save_every_s):
                _save(model, optimizer, step, checkpoint)
                saved_at = time.monotonic()
            right = float((logits.detach().argmax(-1) == labels).float().mean())
            on_tick(Tick(step, total, float(loss.detach()), right, model))
    model.eval()


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "random": torch.get_rng_state(),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path | None) -> int:
    if path is None or not path.is_file():
        return 0
    state: dict[str, Any] = torch.load(path, weights_only=True)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as exc:
        raise UsageError(
            f"{path} is of another network, or another latprof's; expected a checkpoint of this "
            "one: go on with what wrote it, or begin in another folder"
        ) from exc
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    return int(state["step"])


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """Top-1 share in [0, 1], in eval mode."""
    model.eval()
    right = 0
    for some, expected in zip(torch.split(images, batch), torch.split(labels, batch), strict=True):
        right += int((model(some).argmax(-1) == expected).sum())
    return right / len(labels)
