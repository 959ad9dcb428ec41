"""Any data, task, optimizer and precision; stopped and gone on, or in two processes, alike."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from support.training import Plain, plain_compressor, task, trainer_in_two
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from latprof.compress import (
    DatasetBatches,
    Distillation,
    OwnLoss,
    Regression,
    TensorBatches,
    TrainSettings,
    evaluate,
    train,
    with_functions,
)
from latprof.errors import TrainingError, UsageError


class Rows(Dataset[Any]):
    """512 rows with noise of their own each time, as tuples or dicts."""

    def __init__(self, form: str = "tuple", bad: int | None = None) -> None:
        self.inputs, self.labels = task()
        self.form, self.bad = form, bad

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Any:
        if row == self.bad:
            raise OSError("cannot identify image file")
        x = self.inputs[row] + 0.05 * torch.randn(16)
        return (
            (x, self.labels[row]) if self.form == "tuple" else {"x": x, "labels": self.labels[row]}
        )


class Stopped(Exception):
    pass


def trained(data: Any = None, *, epochs: int = 6, how: Any = None, **more: Any) -> Plain:
    model = Plain()
    train(model, data or Rows(), TrainSettings(epochs, lr=3e-3, **(how or {})), **more)
    return model


def same(first: nn.Module, second: nn.Module) -> bool:
    state = second.state_dict()
    return all(torch.equal(value, state[name]) for name, value in first.state_dict().items())


def test_all_forms_of_data_are_one_training() -> None:
    first = trained()
    assert evaluate(first, task()) > 0.8
    assert evaluate(first, Rows()) > 0.8
    for other in (Rows("dict"), DataLoader(Rows(), 32, shuffle=True), DatasetBatches(Rows(), 32)):
        assert same(first, trained(other))


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Mid-epoch, with random rows, momentum and accumulation."""
    how = {"optimizer": "sgd", "optimizer_args": {"momentum": 0.9}, "accumulate": 2}
    whole = trained(epochs=3, how=how)

    def stop(tick: Any) -> None:
        if tick.step == 11:
            raise Stopped

    keep = {"checkpoint": tmp_path / "x.checkpoint", "save_every_s": 0.0}
    with pytest.raises(Stopped):
        trained(epochs=3, how=how, on_tick=stop, **keep)
    steps: list[int] = []
    again = trained(epochs=3, how=how, on_tick=lambda tick: steps.append(tick.step), **keep)
    assert steps[0] == 12
    assert same(whole, again)


@pytest.mark.parametrize(
    "how",
    [
        {"optimizer": "rmsprop", "schedule": "exponential"},
        {"optimizer": "NAdam", "schedule": "linear"},
        {"optimizer": torch.optim.Adam, "schedule": lambda progress: 1 - progress**2},
        {"precision": "bf16"},
        {"clip_norm": 1.0, "schedule": "constant"},
    ],
)
def test_each_optimizer_schedule_and_precision_learns(how: Any) -> None:
    model = trained(how=how)
    assert evaluate(model, task()) > 0.75
    assert model.forward.__func__ is Plain.forward  # nothing of the trainer stays on it


def test_what_cannot_be_is_refused_by_name() -> None:
    for how, says in (
        ({"optimizer": "adamm"}, "optimizer is 'adamm'; expected one of adamw"),
        ({"optimizer": "sgd", "optimizer_args": {"momentun": 1}}, "optimizer sgd: .*momentun"),
        ({"schedule": "cosin"}, "schedule is 'cosin'; expected one of cosine"),
        ({"precision": "fp8"}, "precision is 'fp8'; expected one of auto"),
        ({"accumulate": 0}, "accumulate is 0; expected a whole number"),
    ):
        with pytest.raises(UsageError, match=says):
            TrainSettings(1, **how)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batch is 900; expected 1 to 512 rows"):
        DatasetBatches(Rows(), 900)
    with pytest.raises(UsageError, match="training data is int; expected a torch Dataset"):
        train(Plain(), 3, TrainSettings(1))
    with pytest.raises(UsageError, match="a batch has y, labels; Plain takes x"):
        train(Plain(), [{"y": task()[0][0], "labels": 0}] * 32, TrainSettings(1))


def test_a_row_that_does_not_load_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    keep = {"checkpoint": tmp_path / "x.checkpoint", "save_every_s": 0.0}
    says = r"row 300 of the data does not load \(OSError: cannot identify image file\)"
    with pytest.raises(TrainingError, match=says):
        trained(Rows(bad=300), epochs=2, **keep)
    assert same(trained(epochs=2, **keep), trained(epochs=2))  # mended, it goes on


def halves(outputs: Tensor, batch: Any) -> Tensor:
    return (outputs - batch[1]).abs().mean()


def test_regression_and_functions_of_ones_own() -> None:
    x, _ = task()
    rows = [(one, one[:4]) for one in x]
    model = Plain()
    before = evaluate(model, rows, Regression())
    train(model, rows, TrainSettings(8), distillation=Distillation(task=Regression()))
    assert evaluate(model, rows, Regression()) < 0.5 * before
    mine = with_functions(Regression(), halves, torchmetrics.MeanAbsoluteError())
    assert not mine.higher_is_better
    teacher, student = model, Plain()
    train(student, rows, TrainSettings(8), distillation=Distillation(teacher, task=mine))
    by_function = with_functions(Regression(), halves, halves, higher_is_better=False)
    figure = evaluate(student, rows, mine)
    assert figure < 0.5
    assert evaluate(student, rows, by_function, batch=50) == pytest.approx(figure, rel=1e-4)
    with pytest.raises(UsageError, match="which way metric improves is not known"):
        with_functions(Regression(), halves, halves)
    bad = with_functions(Regression(), None, lambda o, b: math.nan, higher_is_better=True)
    with pytest.raises(TrainingError, match="the metric <lambda> is nan on the test data"):
        evaluate(student, rows, bad)


class WithLoss(nn.Module):
    """A model that computes its own loss, as transformers' do."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = Plain()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        logits = self.plain(x)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def test_a_model_that_computes_its_own_loss() -> None:
    model = WithLoss()
    train(model, Rows("dict"), TrainSettings(6, lr=3e-3), distillation=Distillation(task=OwnLoss()))
    assert evaluate(model, Rows("dict")) > 0.75
    assert evaluate(model, Rows("dict"), OwnLoss()) < 0.8


class Tokens(nn.Module):
    """(B, T) token numbers to (B, T, 3) logits, and pixels alike."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(9, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.embed(input_ids))}


def test_tokens_and_labels_that_do_not_count() -> None:
    ids = torch.arange(320).reshape(64, 5) % 9
    labels = (ids % 3).masked_fill(ids == 4, -100)
    rows = [{"input_ids": i, "labels": n, "unused": 1} for i, n in zip(ids, labels, strict=True)]
    model, teacher = Tokens(), Tokens()
    for distillation in (Distillation(), Distillation(teacher, 0.1)):
        train(model, rows, TrainSettings(30, lr=3e-2), distillation=distillation)
        assert evaluate(model, rows) == 1.0
    says = r"labels are int64 \(32, 4\) for outputs float32 \(32, 5, 3"
    with pytest.raises(UsageError, match=says):
        train(model, [{**r, "labels": r["labels"][:4]} for r in rows], TrainSettings(1))


def test_two_processes_find_the_masks_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(trainer_in_two, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name
    comp = plain_compressor(60)
    x, y = task()
    train(comp, TensorBatches(x.view(-1, 16, 1, 1), y, 64), TrainSettings(9, lr=3e-3))
    assert comp.counts() == first["counts"]
    same_masks = ((comp.alpha > 0) == (first["alpha"] > 0)).float().mean()
    assert float(same_masks) > 0.97


def test_a_label_without_an_output_is_named_by_its_step() -> None:
    x, y = task()
    rows = [
        (one, label + 3 * (row == 500))
        for row, (one, label) in enumerate(zip(x, y * 0 + 3, strict=True))
    ]
    with pytest.raises(TrainingError, match=r"a label of step \d+ of 16 has no output .*Target 6"):
        train(Plain(), rows, TrainSettings(1))
