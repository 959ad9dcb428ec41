"""A network that a run has measured is not measured again, whatever became of the run."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from support.run import Net, fake_run
from torch import nn

from latprof.pipeline.run import Deployment
from latprof.pipeline.run._measured import MeasuredNetworks


def test_each_network_is_measured_once(tmp_path: Path) -> None:
    asked: list[nn.Module] = []

    def measure(model: nn.Module) -> float:
        asked.append(model)
        return float(len(asked))

    path, first = tmp_path / "measured.json", Net()
    other = copy.deepcopy(first)
    nn.init.zeros_(other[0].bias)
    measured = MeasuredNetworks(path, measure)
    assert [measured(m) for m in (first, other, copy.deepcopy(first))] == [1.0, 2.0, 1.0]
    assert [MeasuredNetworks(path, measure)(m) for m in (other, first)] == [2.0, 1.0]
    assert len(asked) == 2


class Killed(BaseException):
    pass


def test_a_run_killed_while_it_measures_ends_with_the_same_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")
    asked, calls_before_kill = list[float](), 10
    full = sum(p.numel() for p in Net().parameters())

    def measure(_: Deployment, __: Path, original_s: float, model: nn.Module) -> float:
        if len(asked) == calls_before_kill:
            raise Killed
        share = sum(p.numel() for p in model.parameters()) / full
        asked.append(1.5 * original_s * share**0.5)
        return asked[-1]

    monkeypatch.setattr(Deployment, "time_beside", measure)
    _, whole = fake_run(tmp_path / "whole", trail=0)
    wanted = asked.copy()
    assert len(wanted) >= 3  # the first one missed the budget, and the next
    asked.clear()
    calls_before_kill = 2
    with pytest.raises(Killed):
        fake_run(tmp_path / "killed", trail=0)
    asked.clear()
    calls_before_kill = 10
    _, again = fake_run(tmp_path / "killed", trail=0)
    assert asked == wanted[2:]
    assert again.widths == whole.widths
