"""``latprof export``: files to deploy, in float32 and int8."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latprof._cli import main
from latprof.compress import workloads_of_file

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

USER = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 4)]
    return nn.Sequential(*layers), (torch.zeros(1, 1, 16, 16),)

def data():
    from latprof.compress import TensorBatches
    images = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return TensorBatches(images, torch.zeros(64, dtype=torch.int64), 32), (images, None)
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "exported_by_user.py").write_text(USER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr("sys.argv", ["latprof", "export", "exported_by_user:net", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_float32_with_weights(
    user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "-o", "net.onnx", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"path": "net.onnx"}
    assert {w.dtype for w in workloads_of_file("net.onnx")} == {"float32"}
    assert run(monkeypatch, "-o", "net.onnx", "--weights", "none.pt") == 2
    assert "weights none.pt" in capsys.readouterr().err


def test_int8_is_measured_beside_float32(
    user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    int8 = ["-o", "net.onnx", "--int8", "--data", "exported_by_user:data", "--device", "fake"]
    assert run(monkeypatch, *int8, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["path"] == "net.onnx"
    assert said["sqnr_db"] > 20
    assert said["latency_s"] > 0
    assert said["float_latency_s"] > 0
    assert "int8" in {w.dtype for w in workloads_of_file("net.onnx")}
    assert run(monkeypatch, *int8, "--images", "40") == 0
    assert "SQNR" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")  # the converter warns of its own internals
def test_int8_tflite(
    user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("litert_torch", reason="pip install 'latprof[tflite-export]'")
    int8 = ["-o", "net.tflite", "--int8", "--data", "exported_by_user:data", "--device", "fake"]
    assert run(monkeypatch, *int8, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sqnr_db"] > 20
    assert [w.label for w in workloads_of_file("net.tflite")] == ["conv2d.k3.int8", "matmul.int8"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--int8"], "int8 and data go together"),
        (["--data", "exported_by_user:data"], "int8 and data go together"),
        (["--int8", "--data", "exported_by_user:data", "--images", "0"], "images is 0"),
    ],
)
def test_what_is_asked_wrongly(
    user: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    says: str,
) -> None:
    assert run(monkeypatch, "-o", "net.onnx", *args) == 2
    assert says in capsys.readouterr().err
