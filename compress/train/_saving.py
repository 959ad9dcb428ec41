"""When a training is saved, and what of it: all that its end follows from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latprof.compress.train._checkpoint import load_state, save_state
from latprof.compress.train._hardware import Hardware
from latprof.errors import UsageError

__all__ = ["Saving"]


class Saving:
    """The checkpoint of one training.

    Args:
        path: file that is saved to; None: nothing is saved.
        every_s: seconds of training that a kill may cost.
        seed: of what the model draws; each process draws its own.
    """

    def __init__(self, path: Path | None, every_s: float, seed: int) -> None:
        self.path, self.every_s, self.seed = path, every_s, seed
        self._saved_at = time.monotonic()

    def due(self, step: int, ends: bool, hardware: Hardware, beat: int) -> bool:
        """Whether to save now, the same in every process."""
        if self.path is None:
            return False
        if hardware.part[1] == 1:
            return ends or time.monotonic() - self._saved_at >= self.every_s
        if not ends and step % beat:
            return False
        late = time.monotonic() - self._saved_at >= self.every_s
        return ends or bool(hardware.gathered(late)[0])

    def save(self, model: nn.Module, optimizer: Any, hardware: Hardware, step: int) -> None:
        """Write the state; a kill leaves the former file or this one."""
        assert self.path is not None
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "random": hardware.gathered(_random_state(hardware)),
            "scaler": hardware.scaler_state(),
        }
        if hardware.part[0] == 0:
            save_state(self.path, state)
        self._saved_at = time.monotonic()

    def load(self, model: nn.Module, optimizer: Any, hardware: Hardware) -> int:
        """Go on from the file; returns the steps that are done, 0 where there is none.

        Raises:
            UsageError: it is damaged, or of another network or number of processes.
        """
        torch.manual_seed(self.seed + 1_000_003 * hardware.part[0])
        if self.path is None or not self.path.exists():
            return 0
        state = load_state(self.path, "cpu")
        try:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            states = state["random"]
        except (RuntimeError, ValueError, KeyError) as exc:
            raise UsageError(
                f"{self.path} is of another network, or another latprof's; expected a checkpoint "
                "of this one: go on with what wrote it, or begin in another folder"
            ) from exc
        if isinstance(states, torch.Tensor):  # of one process, as it was written formerly
            states = [{"cpu": states}]
        if len(states) != hardware.part[1]:
            raise UsageError(
                f"{self.path} is of a training in {len(states)} processes, and these are "
                f"{hardware.part[1]}; go on with as many, or begin in another folder"
            )
        torch.set_rng_state(states[hardware.part[0]]["cpu"])
        if (found := states[hardware.part[0]].get("device")) is not None:
            torch.cuda.set_rng_state(found)
        hardware.scaler_state(state.get("scaler"))
        return int(state["step"])


def _random_state(hardware: Hardware) -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if hardware.device.type == "cuda":
        state["device"] = torch.cuda.get_rng_state()
    return state
