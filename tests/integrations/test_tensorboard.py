"""What is logged stands in a real event file, read back record by record."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support.tensorboard import scalars_in
from support.training import plain_compressor

from latprof.integrations import TensorBoard


def test_scalars_are_read_back(tmp_path: Path) -> None:
    comp = plain_compressor()
    with TensorBoard(tmp_path / "board") as board:
        for step in (1, 2, 3):
            board.log(step, comp, loss=1.0 / step)
    found = scalars_in(tmp_path / "board")
    assert set(found) == {
        "loss",
        "latprof/latency_s",
        "latprof/budget_s",
        "latprof/penalty_weight",
        "latprof/channels",
    }
    assert found["loss"] == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert found["latprof/channels"][3] == sum(comp.counts())
    assert found["latprof/latency_s"][2] == pytest.approx(comp.cost(), rel=1e-6)
    assert math.isclose(found["latprof/budget_s"][1], comp.budget_cost, rel_tol=1e-6)
