"""Exported files: proven, self-contained, and read back as the workloads they were traced as."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latprof import zoo
from latprof.compress import export, load_check, trace, workloads_of_file
from latprof.errors import ExportError, MissingExtraError, ModelLoadError, UsageError
from latprof.models import load_model

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


def test_one_file_and_its_check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, inputs = zoo.mobilenet_v3_small(width=0.5)
    path = export(model, inputs, tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.check.npz", "net.onnx"]
    check = load_check(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, check.inputs)
    (wanted,) = check.outputs
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert wanted.any()


def test_names_dicts_and_batches(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(6, 3)

        def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
            return {"sum": self.a(left) + self.b(right), "left": self.a(left)}

    inputs = {"left": torch.zeros(1, 4), "right": torch.zeros(1, 6)}
    path = export(Named(), inputs, tmp_path / "net.onnx", dynamic_batch=True)
    check = load_check(path)
    assert list(check.inputs) == ["left", "right"]
    assert [a.shape for a in check.outputs] == [(1, 3), (1, 3)]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    five = {"left": np.zeros((5, 4), np.float32), "right": np.zeros((5, 6), np.float32)}
    assert [a.shape for a in session.run(None, five)] == [(5, 3), (5, 3)]


def test_a_recurrent_network_and_its_file_multiply_as_often(tmp_path: Path) -> None:
    model, inputs = zoo.lstm()
    found = workloads_of_file(export(model, inputs, tmp_path / "net.onnx"))
    assert sum(w.macs for w in found) == trace(model, inputs).stats().macs
    assert not found.unread


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "densenet", "unet", "vit"])
def test_a_file_has_the_workloads_of_its_model(name: str, tmp_path: Path) -> None:
    small = {"vit": {"depth": 1, "dim": 48}, "mobilenet_v3_small": {}}.get(name, {"size": 16})
    model, inputs = getattr(zoo, name)(**small)
    traced = Counter(trace(model, inputs).workloads())
    read = Counter(workloads_of_file(export(model, inputs, tmp_path / "net.onnx")))
    assert read == traced


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    model, inputs = zoo.mobilenet_v3_small(width=0.5)
    with pytest.raises(UsageError, match=r"expected \.onnx or \.tflite"):
        export(model, inputs, tmp_path / "net.pt")
    with pytest.raises(UsageError, match="is no folder"):
        export(model, inputs, tmp_path / "nowhere" / "net.onnx")

    class Fft(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvalsh(x @ x.mT)

    (tmp_path / "net.onnx").write_text("kept")
    with pytest.raises(ExportError, match="Fft: ONNX export failed"):
        export(Fft(), torch.randn(4, 4), tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    with pytest.raises(UsageError, match="no check can be read"):
        load_check(tmp_path / "net.onnx")


def test_files_that_are_no_models(tmp_path: Path) -> None:
    broken = tmp_path / "net.onnx"
    broken.write_bytes(b"\x00\x01 not a model")
    with pytest.raises(ModelLoadError, match="not an ONNX model"):
        workloads_of_file(broken)
    with pytest.raises(ModelLoadError, match="no such file"):
        workloads_of_file(tmp_path / "none.onnx")
    with pytest.raises(ModelLoadError, match=r"expected \.onnx or \.tflite"):
        workloads_of_file(Path(__file__))


USER_MODULE = """
import torch
from torch import nn

def pair():
    return nn.Linear(4, 2), torch.zeros(1, 4)

class Own(nn.Linear):
    example_inputs = (torch.zeros(1, 4),)
    def __init__(self):
        super().__init__(4, 2)

def bare():
    return nn.Linear(4, 2)

def fails():
    raise RuntimeError("no weights here")

number = 3
"""


def test_model_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users_module.py").write_text(USER_MODULE)
    (tmp_path / "users_broken.py").write_text("import nowhere_to_be_found")
    for spec in ("users_module:pair", "users_module:Own"):
        model, inputs, name = load_model(spec)
        assert not model.training
        assert trace(model, inputs).workloads()
        assert name == spec.partition(":")[2]
    assert str(tmp_path) not in sys.path
    torch.export.save(torch.export.export(nn.Linear(4, 2), (torch.zeros(1, 4),)), "saved.pt2")
    model, inputs, name = load_model("saved.pt2")
    assert name == "saved"
    assert trace(model, inputs).stats().params == 10
    said = {
        "users_module:bare": "no example inputs",
        "users_module:fails": "calling it fails: RuntimeError: no weights here",
        "users_module:number": "it gives int",
        "users_module:absent": "has no attribute 'absent'",
        "users_broken:x": "No module named 'nowhere_to_be_found'",
        "zoo:absent": "zoo has no 'absent'; it has densenet",
        "resnet18": "expected package.module:callable",
        "none.pt2": "no such file",
    }
    for spec, words in said.items():
        with pytest.raises(ModelLoadError, match=words):
            load_model(spec)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'latprof\[models\]'"):
        load_model("timm:resnet18")


def test_inspect_names_groups_and_reasons() -> None:
    from click.testing import CliRunner

    from latprof._cli._inspect import command

    shown = CliRunner().invoke(command, ["zoo:lstm"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "7 channel groups, 1 prunable with 64 units" in shown.output
    assert "residual blocks that Depth may drop: none" in shown.output


def test_inspect_names_residual_blocks() -> None:
    from click.testing import CliRunner

    from latprof._cli._inspect import command

    shown = CliRunner().invoke(command, ["zoo:resnet18", "--json"], catch_exceptions=False)
    blocks = json.loads(shown.stdout)["residual_blocks"]
    assert len(blocks) == 5  # three of the eight begin a stage with a strided shortcut
