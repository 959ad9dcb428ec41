"""A plain training loop for those without their own: AdamW, cosine, distillation, checkpoints."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from latprof.compress._compressor import Compressor
from latprof.compress.train._batches import Batches
from latprof.compress.train._checkpoint import load_state, save_state
from latprof.compress.train._distillation import Distillation
from latprof.compress.train._settings import TrainSettings
from latprof.compress.train._trainable import check_trainable
from latprof.errors import TrainingError, UsageError

__all__ = ["Tick", "accuracy", "train"]


#: The loss without a teacher.
_CROSS_ENTROPY = Distillation()


@dataclass(frozen=True)
class Tick:
    """One step done.

    Args:
        step, total: steps done, and of the whole phase.
        loss, accuracy: of the step's batch, before the step; accuracy is a share in [0, 1].
        model: what is trained.
    """

    step: int
    total: int
    loss: float
    accuracy: float
    model: nn.Module


def train(
    model: nn.Module,
    batches: Batches,
    settings: TrainSettings,
    *,
    distillation: Distillation = _CROSS_ENTROPY,
    checkpoint: Path | None = None,
    seed: int = 0,
    save_every_s: float = 20.0,
    on_tick: Callable[[Tick], None] = lambda _: None,
) -> None:
    """Train ``model`` in place; a Compressor is trained with its penalty and its steps.

    With ``checkpoint`` the state is saved, atomically, every ``save_every_s`` and at the end; the
    same call goes on from it and ends with the same weights as if nothing had happened. Before the
    first step of a Compressor the end of its training is tried, unless it was: see
    ``check_trainable``.

    Args:
        model: in any mode; it ends in eval mode.
        batches: training data.
        settings: how long and how fast.
        distillation: the loss.
        checkpoint: file to save to and to go on from.
        seed: of what the model draws (dropout).
        save_every_s: seconds of training that a kill may cost.
        on_tick: called after each step.

    Raises:
        TrainingError: the loss is not finite; names the step. The model is as before that step.
        UsageError: the checkpoint is damaged or not of this network, or what training ends in
            would fail.
    """
    if len(batches) < 1:
        raise UsageError("batches has no batch; expected at least one per epoch")
    total = settings.epochs * len(batches)
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.lr, weight_decay=settings.weight_decay
    )
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(seed)
    step = _resume(model, optimizer, checkpoint)
    if isinstance(model, Compressor) and step == 0 < total and not model.is_tried:
        with torch.random.fork_rng():  # training draws what it would have drawn
            check_trainable(model, next(iter(batches.epoch(0)))[0])
    saved_at = time.monotonic()
    model.train()
    while step < total:
        epoch, skip = divmod(step, len(batches))
        for inputs, labels in itertools.islice(batches.epoch(epoch), skip, None):
            rate = model.rate() if isinstance(model, Compressor) else 1.0
            for group in optimizer.param_groups:
                group["lr"] = rate * settings.rate(step / total)
            logits = model(inputs)
            loss = distillation.loss(logits, inputs, labels)
            if isinstance(model, Compressor):
                loss = loss + model.penalty()
            if not math.isfinite(loss_value := float(loss.detach())):
                raise TrainingError(
                    f"the loss is {loss_value} at step {step + 1} of {total} (epoch {epoch + 1}); "
                    f"try a smaller lr (now {settings.lr:g}), or look for NaN in the data"
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if isinstance(model, Compressor):
                model.step()
            step += 1
            if checkpoint and (step == total or time.monotonic() - saved_at >= save_every_s):
                _save(model, optimizer, step, checkpoint)
                saved_at = time.monotonic()
            correct = float((logits.detach().argmax(-1) == labels).float().mean())
            on_tick(Tick(step, total, loss_value, correct, model))
    model.eval()


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "random": torch.get_rng_state(),
    }
    save_state(path, state)


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path | None) -> int:
    if path is None or not path.exists():
        return 0
    state = load_state(path)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as exc:
        raise UsageError(
            f"{path} is of another network, or another latprof's; expected a checkpoint of this "
            "one: go on with what wrote it, or begin in another folder"
        ) from exc
    torch.set_rng_state(state["random"])
    return int(state["step"])


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """Top-1 share in [0, 1], in eval mode: images (N, ...), labels (N,)."""
    model.eval()
    correct = 0
    parts = zip(torch.split(images, batch), torch.split(labels, batch), strict=True)
    for inputs, expected in parts:
        correct += int((model(inputs).argmax(-1) == expected).sum())
    return correct / len(labels)
