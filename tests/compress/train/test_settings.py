"""Settings that cannot be are refused by name; a loss that is not finite ends the training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import Plain, plain_compressor, task

from latprof.compress import Distillation, LowRank, Prune, TensorBatches, TrainSettings, train
from latprof.errors import TrainingError, UsageError


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TrainSettings(3.7), "epochs is 3.7; expected a whole number of at least 0"),
        (lambda: TrainSettings(-1), "epochs is -1; expected a whole number"),
        (lambda: TrainSettings("3"), "epochs is '3'; expected a whole number"),
        (lambda: TrainSettings(1, lr=math.nan), "lr is nan; expected a number above 0"),
        (lambda: TrainSettings(1, lr=0.0), r"lr is 0\.0; expected a number above 0"),
        (lambda: TrainSettings(1, lr=math.inf), "lr is inf; expected a number above 0"),
        (lambda: TrainSettings(1, lr="fast"), "lr is 'fast'; expected a number above 0"),
        (
            lambda: TrainSettings(1, warmup=2),
            "warmup is 2; expected a number of at least 0",
        ),
        (lambda: TrainSettings(1, warmup=1.0), r"warmup is 1\.0; expected .* below 1"),
        (lambda: TrainSettings(1, final=-0.1), r"final is -0\.1; expected .* at least 0 and of at"),
        (lambda: TrainSettings(1, weight_decay=-1.0), r"weight_decay is -1\.0; expected"),
        (lambda: Distillation(temperature=0), "temperature is 0; expected a number above 0"),
        (lambda: Distillation(coefficient=1.5), r"coefficient is 1\.5; expected"),
        (lambda: Prune(divisor=0), "divisor is 0; expected a whole number of at least 1"),
        (lambda: LowRank(divisor=2.5), r"divisor is 2\.5; expected a whole number"),
        (lambda: TensorBatches(*task(64), batch=65), "batch is 65; expected 1 to 64 images"),
        (lambda: TensorBatches(torch.zeros(3), torch.zeros(2)), "3 images and 2 labels"),
    ],
)
def test_nonsense_is_refused_by_name(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_rate_climbs_and_falls() -> None:
    settings = TrainSettings(1, lr=1.0, final=0.25, warmup=0.2)
    assert settings.rate(0.1) == pytest.approx(0.5)
    assert settings.rate(0.2) == pytest.approx(1.0)
    assert settings.rate(0.6) == pytest.approx(0.625)
    assert settings.rate(1.0) == pytest.approx(0.25)
    assert TrainSettings(1, lr=1.0, warmup=0.0).rate(0.0) == 1.0


def test_rewinding_begins_within_the_schedule() -> None:
    whole = TrainSettings(4, lr=0.1, final=0.2, warmup=0.1)
    late = TrainSettings(3, lr=0.1, final=0.2, warmup=0.1, rewind=0.25)
    for progress in (0.0, 0.3, 0.9):
        assert late.rate(progress) == pytest.approx(whole.rate(0.25 + 0.75 * progress))
    assert "rewind" not in repr(whole)
    assert "rewind=0.25" in repr(late)


def test_a_loss_that_is_not_finite_ends_the_training_at_its_step(tmp_path: Path) -> None:
    """The weights are those of the step before, and so is what was saved."""
    x, y = task(256)
    images = x.view(-1, 16, 1, 1).clone()
    model, steps = Plain(), list[int]()
    weights: list[dict[str, torch.Tensor]] = []

    def on_tick(tick: Any) -> None:
        steps.append(tick.step)
        weights.append(copy.deepcopy(model.state_dict()))
        if tick.step == 5:
            images.fill_(math.nan)

    with pytest.raises(TrainingError, match=r"the loss is nan at step 6 of 16 \(epoch 2\)") as end:
        train(
            model, TensorBatches(images, y, 64), TrainSettings(4),
            checkpoint=tmp_path / "net.checkpoint", on_tick=on_tick, save_every_s=0,
        )  # fmt: skip
    assert "\n" not in str(end.value)
    assert steps == [1, 2, 3, 4, 5]
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[-1][name]), name


def test_no_batches_are_refused() -> None:
    class Nothing:
        def __len__(self) -> int:
            return 0

        def epoch(self, number: int) -> list[Any]:
            return []

    with pytest.raises(UsageError, match="has no batch"):
        train(plain_compressor(4), Nothing(), TrainSettings(1))
