"""A latency budget for a LightningModule that holds a Compressor."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from latprof.compress import Compressor, status
from latprof.errors import UsageError
from latprof.vocabulary import require

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:
    require("pytorch_lightning", extra="lightning", why="LightningCallback")
    from pytorch_lightning import Callback

__all__ = ["LightningCallback"]


class LightningCallback(Callback):
    """Adds the penalty, steps the masks and logs them, for the Compressor in a LightningModule.

        class Classifier(LightningModule):
            def __init__(self, comp: Compressor) -> None:
                super().__init__()
                self.net = comp          # used as the network itself would be
            ...

        Trainer(callbacks=[LightningCallback()]).fit(Classifier(comp), loader)
        small = comp.shrink()

    The compressor is part of the module, so its masks are averaged over processes, moved to
    devices, and kept in checkpoints with everything else. Gradient clipping does not see the
    masks' gradients: they take steps of their own.

    Raises:
        UsageError: when fitting begins: the module holds no Compressor, or several.
    """

    def __init__(self) -> None:
        super().__init__()
        self._comp: Compressor | None = None
        self._grad: Tensor | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Find the Compressor."""
        compressors = [m for m in pl_module.modules() if isinstance(m, Compressor)]
        if len(compressors) != 1:
            raise UsageError(
                f"{type(pl_module).__name__} holds {len(compressors)} Compressors; expected one, "
                "in the place of the network"
            )
        (self._comp,) = compressors

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Add the penalty's gradient, and keep the masks' from the optimizer and from clipping."""
        comp = self._comp
        assert comp is not None
        if not comp.fixed:
            comp.penalty().backward()  # type: ignore[no-untyped-call]
        self._grad, comp.alpha.grad = comp.alpha.grad, None

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Step the masks, once per optimizer step, and log them."""
        comp = self._comp
        assert comp is not None
        if self._grad is None:
            return  # still accumulating
        comp.alpha.grad, self._grad = self._grad, None
        comp.step()
        comp.alpha.grad = None
        pl_module.log_dict({f"latprof/{k}": float(v) for k, v in status(comp).items()})
