"""A real Lightning Trainer trains a module that holds a Compressor, through the callback alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import plain_compressor, task
from torch import Tensor, nn

from latprof import Compressor
from latprof.errors import UsageError

if importlib.util.find_spec("lightning"):
    import lightning.pytorch as pl
else:
    pl = pytest.importorskip("pytorch_lightning", reason="pip install 'latprof[lightning]'")

from latprof.integrations import LightningCallback

# Lightning warns of the number of workers, of missing loggers, and of its own internals
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS, MASKS = 80, 60


class Classifier(pl.LightningModule):  # type: ignore[misc, name-defined, unused-ignore]
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=5e-3)


def fit(comp: Compressor, folder: Path, batch: int = 32, steps: int = STEPS, **more: Any) -> Any:
    data = torch.utils.data.TensorDataset(*task())
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        callbacks=[LightningCallback()],
        **{k: v for k, v in more.items() if k != "ckpt_path"},
    )
    loader = torch.utils.data.DataLoader(data, batch_size=batch)
    trainer.fit(Classifier(comp), loader, ckpt_path=more.get("ckpt_path"))
    return trainer


def same(a: Compressor, b: Compressor) -> float:
    """Share of the channels that both keep or both remove."""
    return float(((a.alpha > 0) == (b.alpha > 0)).float().mean())


def test_the_budget_is_met_and_told(tmp_path: Path) -> None:
    comp = plain_compressor(MASKS)
    trainer = fit(comp, tmp_path)
    assert comp.fixed
    assert comp.cost() <= comp.budget_cost
    assert float(trainer.callback_metrics["latprof/latency_s"]) == pytest.approx(comp.cost())
    x, _ = task()
    small = comp.shrink()
    with torch.no_grad():
        torch.testing.assert_close(small(x), comp(x), rtol=1e-5, atol=1e-5)


def test_accumulating_two_halves_is_one_whole(tmp_path: Path) -> None:
    whole, halves = plain_compressor(MASKS), plain_compressor(MASKS)
    fit(whole, tmp_path)
    fit(halves, tmp_path, batch=16, accumulate_grad_batches=2)
    assert int(halves.steps_taken) == MASKS
    assert whole.counts() == halves.counts()
    assert same(whole, halves) > 0.97


def test_clipping_the_weights_leaves_the_masks_alone(tmp_path: Path) -> None:
    free, bound = plain_compressor(MASKS), plain_compressor(MASKS)
    fit(free, tmp_path)
    fit(bound, tmp_path, gradient_clip_val=1e9)
    assert torch.equal(free.alpha, bound.alpha)
    clipped = plain_compressor(MASKS)
    fit(clipped, tmp_path, gradient_clip_val=0.05)
    assert clipped.cost() <= clipped.budget_cost


def test_a_checkpoint_resumes_to_the_same_masks(tmp_path: Path) -> None:
    """All data in each batch: where in an epoch to go on is Lightning's business."""
    whole, first, resumed = (plain_compressor(MASKS) for _ in range(3))
    fit(whole, tmp_path, batch=512)
    trainer = fit(first, tmp_path, batch=512, steps=32)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    fit(resumed, tmp_path, batch=512, ckpt_path=tmp_path / "half.ckpt")
    assert torch.equal(whole.alpha, resumed.alpha)


def test_bf16_reaches_the_budget_too(tmp_path: Path) -> None:
    comp = plain_compressor(MASKS)
    fit(comp, tmp_path, precision="bf16-mixed")
    assert comp.cost() <= comp.budget_cost


def test_a_module_without_a_compressor_is_refused(tmp_path: Path) -> None:
    comp = plain_compressor(MASKS)
    with pytest.raises(UsageError, match="holds 0 Compressors; expected one"):
        fit(comp.model, tmp_path)  # type: ignore[arg-type]
