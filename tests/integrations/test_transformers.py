"""A real Trainer trains real (tiny) transformers to a budget, through the callback alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import fake_surrogate
from support.transformers import build, example, rows
from torch import nn

from latprof import Compressor
from latprof.errors import UsageError
from latprof.surrogate import Surrogate

transformers = pytest.importorskip("transformers", reason="pip install 'latprof[transformers]'")
pytest.importorskip("accelerate", reason="pip install 'latprof[transformers]'")

from latprof.integrations import TransformersCallback  # noqa: E402

# transformers and accelerate warn of their own internals
pytestmark = pytest.mark.filterwarnings("ignore")

STEPS, MASKS = 48, 36


@cache
def surrogate(kind: str) -> Surrogate:
    return fake_surrogate(build(kind).eval(), example())


def compressor(kind: str = "bert", **more: Any) -> Compressor:
    return Compressor(build(kind), example(), surrogate(kind), "70%", steps=MASKS, **more)


def trainer(comp: Compressor, folder: Path, kind: str = "bert", **more: Any) -> Any:
    settings: dict[str, Any] = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 16,
        "learning_rate": 2e-3,
        "logging_steps": 6,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    args = transformers.TrainingArguments(str(folder), **{**settings, **more})
    data = rows(kind)
    return transformers.Trainer(
        comp.model,
        args,
        train_dataset=data,
        eval_dataset=data,
        callbacks=[TransformersCallback(comp)],
    )


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_the_budget_is_met_and_shrink_is_the_trainers_model(kind: str, tmp_path: Path) -> None:
    comp = compressor(kind)
    run = trainer(comp, tmp_path, kind)
    run.train()
    assert comp.fixed
    assert comp.cost() <= comp.budget_cost
    assert any(w["after"] < w["before"] for w in comp.widths())
    small = comp.shrink().eval()
    assert sum(p.numel() for p in small.parameters()) < sum(
        p.numel() for p in run.model.parameters()
    )
    batch = {k: torch.stack([r[k] for r in rows(kind)]) for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        masked, shrunk = run.model.eval()(**batch).logits, small(**batch).logits
    torch.testing.assert_close(shrunk, masked, rtol=1e-4, atol=1e-5)
    assert "forward" not in vars(run.model) or not hasattr(run.model.forward, "__wrapped__")
    logged = [row["latency_s"] for row in run.state.log_history if "latency_s" in row]
    assert logged[-1] <= comp.budget_cost < logged[0]


def test_what_is_evaluated_within_and_after_is_the_masked_model(tmp_path: Path) -> None:
    comp = compressor()
    run = trainer(comp, tmp_path, eval_strategy="steps", eval_steps=STEPS)
    run.train()
    within = [r["eval_loss"] for r in run.state.log_history if "eval_loss" in r][-1]
    assert run.evaluate()["eval_loss"] == pytest.approx(within, rel=1e-4)


def test_accumulating_two_halves_is_one_whole(tmp_path: Path) -> None:
    whole, halves = compressor(), compressor()
    for comp in (whole, halves):  # dropout draws differently for other batch sizes
        # BERT's classifier takes num_items_in_batch and ignores it, so Trainer would not average
        comp.model.accepts_loss_kwargs = False  # type: ignore[assignment]
        for module in comp.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    trainer(whole, tmp_path / "a").train()
    split = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    trainer(halves, tmp_path / "b", **split).train()
    assert whole.counts() == halves.counts()
    same = ((whole.alpha > 0) == (halves.alpha > 0)).float().mean()
    assert same > 0.97
    torch.testing.assert_close(halves.importance, whole.importance, rtol=0.05, atol=1e-6)


def test_a_checkpoint_resumes_to_the_same_masks(tmp_path: Path) -> None:
    whole = compressor()
    trainer(whole, tmp_path / "whole", save_strategy="steps", save_steps=20).train()
    resumed = compressor()
    again = trainer(resumed, tmp_path / "whole", save_strategy="steps", save_steps=20)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-20"))
    assert torch.equal(whole.alpha, resumed.alpha)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_trains_the_same_masks(reentrant: bool, tmp_path: Path) -> None:
    plain, saved = compressor(), compressor()
    for comp in (plain, saved):  # recomputed dropout draws what it drew, in another order
        for module in comp.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    trainer(plain, tmp_path / "a").train()
    more = {"gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
    trainer(saved, tmp_path / "b", gradient_checkpointing=True, **more).train()
    assert saved.counts() == plain.counts()
    torch.testing.assert_close(saved.importance, plain.importance, rtol=0.05, atol=1e-6)


def test_bf16_trains_to_the_budget_too(tmp_path: Path) -> None:
    comp = compressor()
    trainer(comp, tmp_path, bf16=True).train()
    assert comp.cost() <= comp.budget_cost


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fp16": True}, "fp16 scales the masks' gradients"),
        (
            {
                "load_best_model_at_end": True,
                "eval_strategy": "steps",
                "save_strategy": "steps",
                "save_steps": 24,
                "eval_steps": 24,
            },
            "load_best_model_at_end",
        ),
    ],
)
def test_what_would_be_silently_wrong_is_refused(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        trainer(compressor(), tmp_path, **change).train()


def test_another_model_and_a_lost_checkpoint_are_refused(tmp_path: Path) -> None:
    comp = compressor()
    run = trainer(comp, tmp_path, save_strategy="steps", save_steps=20)
    run.model = run.model_wrapped = build()
    with pytest.raises(UsageError, match="same object"):
        run.train()
    trainer(comp, tmp_path, save_strategy="steps", save_steps=20).train()
    (tmp_path / "checkpoint-20" / "latprof.pt").unlink()
    again = trainer(compressor(), tmp_path)
    with pytest.raises(UsageError, match=r"latprof\.pt with its masks is not there"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-20"))
