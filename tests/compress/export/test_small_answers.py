"""Answers near 0 are the difference of larger numbers, and rounding counts for more there."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latprof.compress import export
from latprof.compress.graph import Inputs
from latprof.compress.shrink import float64_outputs, rounding_error
from latprof.errors import ExportError

pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")


class Difference(nn.Module):
    """A small number, of two large ones."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 1))
        self.offset = nn.Parameter(torch.zeros(1))
        with torch.no_grad():
            self.offset.copy_(self(torch.ones(1, 256))[0] - offset)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) - self.offset


def test_rounding_is_what_the_smallness_of_the_answer_makes_it() -> None:
    found = []
    for offset in (1.0, 1e-3):
        model, inputs = Difference(offset).eval(), Inputs.of(torch.ones(1, 256))
        exact = float64_outputs(model, inputs)
        assert exact is not None
        found.append(rounding_error(model, inputs, exact))
    assert found[0] < 1e-6
    assert found[1] > 100 * found[0]


def test_a_file_with_a_small_answer_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the runtime computes is made 2e-5 off, by less than a rounding of the weights."""
    module = importlib.import_module("latprof.compress.export._export")
    monkeypatch.setattr(module, "proof_inputs", lambda model, inputs: inputs)
    model, write = Difference(1e-3).eval(), module.write_onnx

    def off(factor: float) -> None:
        def written(*args: object) -> tuple[list[str], list[np.ndarray]]:
            names, outputs = write(*args)
            return names, [o * np.float32(factor) for o in outputs]

        monkeypatch.setattr(module, "write_onnx", written)

    off(1 + 2e-5)
    assert export(model, torch.ones(1, 256), tmp_path / "m.onnx").is_file()
    off(1 + 5e-3)
    with pytest.raises(ExportError, match="differs from the network"):
        export(model, torch.ones(1, 256), tmp_path / "n.onnx")
