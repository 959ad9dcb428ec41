"""One tensor that is given for two inputs: the file still has two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latprof.compress import export, trace

ort = pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")


class Difference(nn.Module):
    """Tells its inputs apart."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.linear(x) - y


@pytest.mark.parametrize("named", [False, True])
def test_the_file_has_both_inputs(named: bool, tmp_path: Path) -> None:
    model, shared = Difference().eval(), torch.ones(1, 4)
    example: Any = {"x": shared, "y": shared} if named else (shared, shared)
    assert len(trace(model, example).workloads()) >= 1
    file = export(model, example, tmp_path / "m.onnx")
    x, y = torch.randn(1, 4), torch.randn(1, 4)
    (found,) = ort.InferenceSession(str(file)).run(None, {"x": x.numpy(), "y": y.numpy()})
    assert torch.allclose(torch.from_numpy(found), model(x, y), atol=1e-5)
