"""A latency budget for a model that ``transformers.Trainer`` trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from latprof.compress import Attachment, Compressor, fold, status
from latprof.compress.masks import average
from latprof.compress.train import load_state, save_state
from latprof.errors import UsageError

__all__ = ["TransformersCallback"]

_FILE = "latprof.pt"


class TransformersCallback(TrainerCallback):
    """Trains the Trainer's model under masks, to the compressor's budget.

        comp = Compressor(model, dict(batch), surrogate, "60%", steps=mask_steps)
        trainer = Trainer(model, args, train_dataset=data, callbacks=[TransformersCallback(comp)])
        trainer.train()
        small = comp.shrink()

    The Trainer keeps the model itself: its loss, its optimizer, its checkpoints. From the
    beginning of ``train`` to its end the model's forward is the masked one. Before each optimizer
    step, once per accumulation, the penalty's gradient joins the masks'; after it they step. In
    several processes their gradients are averaged as the model's are.

    At the end the masks are fixed and folded into the weights, so that the Trainer's model, its
    saved weights and ``comp.shrink()`` are one function. Each checkpoint holds the masks in
    ``latprof.pt``, and ``train(resume_from_checkpoint=...)`` goes on from them.

    Raises:
        UsageError: when training begins: it is another model, it trains in fp16, a best checkpoint
            (of larger masks) is to be loaded at the end, or one to resume has no masks.
    """

    def __init__(self, comp: Compressor) -> None:
        self.comp = comp
        self._attachment = Attachment(comp)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Check the Trainer, load the masks of a checkpoint, and mask the model."""
        if kwargs["model"] is not self.comp.model:
            raise UsageError(
                f"the Trainer's model is a {type(kwargs['model']).__name__}, and not the "
                "compressor's model; give both the same object"
            )
        if args.fp16:
            raise UsageError("fp16 scales the masks' gradients with the loss; use bf16=True")
        if args.load_best_model_at_end:
            raise UsageError(
                "load_best_model_at_end would bring back weights of a larger network; turn it off"
            )
        if state.global_step:
            self._load(_folder(args, state) / _FILE, state)
        self.comp.to(args.device)
        self._attachment.attach()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Add the penalty's gradient to the masks', and average them over processes."""
        if not self.comp.fixed:
            self.comp.penalty().backward()  # type: ignore[no-untyped-call]
            if self.comp.alpha.grad is not None:
                average(self.comp.alpha.grad)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Step the masks."""
        self._attachment.detach()  # step may shrink a copy, to measure it
        try:
            self.comp.step()
        finally:
            self._attachment.attach()
        self.comp.alpha.grad = None

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save the masks beside the model."""
        if state.is_world_process_zero:
            save_state(_folder(args, state) / _FILE, _masks(self.comp))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Add the masks' figures to what is logged."""
        for shown in (kwargs["logs"], *state.log_history[-1:]):
            shown.update(status(self.comp))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Fix the masks and fold them into the weights."""
        self._attachment.detach()
        if not self.comp.fixed:
            self.comp.fix()
        fold(self.comp)

    def _load(self, path: Path, state: TrainerState) -> None:
        if not path.exists():
            raise UsageError(
                f"training resumes at step {state.global_step}, and {path} with its masks is not "
                "there; resume from a checkpoint of output_dir"
            )
        self.comp.load_state_dict(load_state(path, "cpu"), strict=False)


def _masks(comp: Compressor) -> dict[str, torch.Tensor]:
    """The compressor's state, less the model's, which the Trainer saves."""
    return {k: v for k, v in comp.state_dict().items() if not k.startswith("model.")}


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
