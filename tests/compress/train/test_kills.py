"""kill -9 at random points of a run, again and again: it ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.training import plain_compressor, task

from latprof.compress import Compressor, TensorBatches, Tick, TrainSettings, train

KILLS = 6
EPOCHS = 40


def finish(folder: Path, pause_s: float = 0.0) -> Compressor:
    """Train from the checkpoint in the folder, or from the start, to the end."""
    x, y = task()
    images = x.view(-1, 16, 1, 1)
    comp = plain_compressor(8 * EPOCHS - 40)

    def on_tick(tick: Tick) -> None:
        print(tick.step, flush=True)
        time.sleep(pause_s)

    train(
        comp,
        TensorBatches(images, y, batch=64),
        TrainSettings(EPOCHS, lr=3e-3),
        checkpoint=folder / "masks.checkpoint",
        save_every_s=0.05,
        on_tick=on_tick,
    )
    torch.save(comp.state_dict(), folder / "end.pt")
    return comp


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    comp = finish(whole)
    assert comp.fixed
    assert (comp.alpha == 0).any()
    killed = tmp_path / "killed"
    killed.mkdir()
    generator = random.Random(5)
    command = [sys.executable, __file__, str(killed)]
    starts = []
    while not (killed / "end.pt").exists():
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        starts.append(int(child.stdout.readline()))
        if len(starts) <= KILLS:
            time.sleep(generator.uniform(0.02, 0.5))
            os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    assert len(starts) == KILLS + 1, starts
    assert starts == sorted(starts)
    assert 1 < starts[-1] < 8 * EPOCHS, starts
    end = torch.load(killed / "end.pt")
    for name, value in comp.state_dict().items():
        assert torch.equal(value, end[name]), name


if __name__ == "__main__":
    finish(Path(sys.argv[1]), pause_s=0.005)
