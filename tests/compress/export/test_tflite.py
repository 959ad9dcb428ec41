"""TFLite files: read back as workloads, and, with litert-torch, written and proven."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from latprof import Conv2d, Elementwise, MatMul, Pool, Workload, zoo
from latprof.compress import export, load_check, workloads_of_file
from latprof.devices.agent.runtimes._tflite_model import write_tflite
from latprof.errors import MissingExtraError, ModelLoadError

pytest.importorskip("ai_edge_litert.schema_py_generated", reason="pip install 'latprof[tflite]'")
WRITES = importlib.util.find_spec("litert_torch") is not None
writes = pytest.mark.skipif(not WRITES, reason="pip install 'latprof[tflite-export]'")


@pytest.mark.parametrize(
    "workload",
    [
        Conv2d(h=8, w=8, c_in=4, c_out=6, kernel=3),
        Conv2d(h=8, w=8, c_in=4, c_out=6, kernel=1),
        Conv2d(h=9, w=9, c_in=4, c_out=6, kernel=3, stride=2),
        Conv2d(h=8, w=8, c_in=4, c_out=4, kernel=3, groups=4),
        MatMul(m=3, k=5, n=7),
        Elementwise("relu", h=4, w=4, c=3),
        Elementwise("add", h=4, w=4, c=3),
        Elementwise("scale", h=4, w=4, c=3),
        Pool("max", h=8, w=8, c=3, kernel=2, stride=2),
        Pool("global_avg", h=8, w=8, c=3),
    ],
    ids=lambda w: w.label,
)
def test_a_workload_is_read_back(workload: Workload, tmp_path: Path) -> None:
    path = tmp_path / "one.tflite"
    path.write_bytes(write_tflite(workload))
    found = workloads_of_file(path)
    assert list(found) == [workload]
    assert not found.note


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    for data in (b"", b"nothing of the kind", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40):
        path.write_bytes(data)
        with pytest.raises(ModelLoadError, match="not a TFLite model"):
            workloads_of_file(path)


@pytest.mark.skipif(WRITES, reason="litert-torch is installed")
def test_without_the_converter_one_line_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'latprof\[tflite-export\]'"):
        export(nn.Linear(4, 2), torch.zeros(1, 4), tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())


@writes
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vit"])
def test_an_exported_file_computes_the_same(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, inputs = getattr(zoo, name)()
    with pytest.warns(UserWarning, match="between layouts"):
        path = export(model, inputs, tmp_path / "net.tflite")
    assert capfd.readouterr() == ("", "")
    from ai_edge_litert.interpreter import Interpreter

    check = load_check(path)
    made = Interpreter(model_path=str(path)).get_signature_runner()(**check.inputs)
    (wanted,) = check.outputs
    (got,) = made.values()
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert sum(w.macs for w in workloads_of_file(path)) > 0


@writes
@pytest.mark.filterwarnings("ignore")
def test_tokens_are_int32_in_the_file(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(32, 4))
    path = export(model, torch.randint(0, 50, (1, 4)), tmp_path / "net.tflite")
    assert [a.dtype for a in load_check(path).inputs.values()] == [np.int32]


@writes
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("float16", [False, True])
def test_a_packed_file_computes_the_same(float16: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs = zoo.mobilenet_v3_small()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            step = weight.abs().amax() / 7
            module.weight.data = (weight / step).round() * step
    plain = export(model, inputs, tmp_path / "plain.tflite").stat().st_size
    # compared as it is written
    packed = export(model, inputs, tmp_path / "net.tflite", pack=True, float16=float16)
    assert packed.stat().st_size < 0.32 * plain
