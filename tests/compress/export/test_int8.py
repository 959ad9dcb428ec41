"""Int8 files: near the network, of int8 ops, chosen by measurement, or refused."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latprof.compress import Int8Warning, export_int8, load_check, trace, workloads_of_file
from latprof.compress.export import check_path
from latprof.devices import FakeDevice, profile, run_inference
from latprof.devices.agent.runtimes._onnx_int8 import write_onnx_int8
from latprof.devices.agent.runtimes._tflite_model import write_tflite
from latprof.errors import ExportError, MissingExtraError, UsageError
from latprof.surrogate import fit
from latprof.tables import LatencyTable, plan

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")
pytest.importorskip("onnxruntime")

# exporters run code that warns of torch's own plans and theirs; TFLite's file turns layouts
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::latprof.compress.export.LayoutWarning"),
]

WRITERS = {"onnxruntime": write_onnx_int8, "tflite": write_tflite}
EXAMPLE = torch.zeros(2, 3, 8, 8)


#: Where ``export_int8`` looks up ``export``; the name of the package is that of the function too.
_MODULE = importlib.import_module("latprof.compress.export._export_int8")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.point = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + nn.functional.hardswish(self.point(torch.relu(self.depthwise(x))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(params=[".onnx", ".tflite"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to write, of each format; where litert-torch is missing, what it makes of Net."""
    if request.param == ".tflite":
        pytest.importorskip("ai_edge_quantizer", reason="pip install ai-edge-quantizer")
        if importlib.util.find_spec("litert_torch") is None:
            monkeypatch.setattr(_MODULE, "export", _golden)
    return tmp_path / f"net{request.param}"


def _golden(model: nn.Module, example: Tensor, path: Path) -> Path:
    golden = Path(__file__).parents[2] / "golden" / "net.tflite"
    shutil.copy(check_path(golden), check_path(path))
    return Path(shutil.copy(golden, path))


def runtime(path: Path) -> str:
    return {".onnx": "onnxruntime", ".tflite": "tflite"}[path.suffix]


def images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_the_file_is_near_the_network_and_says_how_near(path: Path) -> None:
    model = Net().train()
    found = export_int8(model, EXAMPLE, path, [images(33), images(31)])
    assert model.training
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.check.npz", path.name]
    assert (found.choice, found.latency_s) == ("all", None)
    with torch.no_grad():
        wanted = model.eval()(images(33)[:32]).numpy()
    (name,) = load_check(path).inputs
    got = np.concatenate([
        run_inference(runtime(path), path, {name: part.numpy()})[0]
        for part in images(33)[:32].split(2)
    ])  # fmt: skip
    sqnr_db = 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())
    assert sqnr_db == pytest.approx(found.sqnr_db, abs=1.5)  # on half of what it is told of
    assert sqnr_db > 20
    assert found.top1_agreement > 0.9
    check = load_check(path)
    assert np.allclose(check.outputs[0], wanted[:2], atol=1e-5)


def test_its_workloads_are_int8_where_kernels_are(path: Path) -> None:
    found = export_int8(Net(), EXAMPLE, path, [images(16)])
    read = workloads_of_file(found.path)
    traced = trace(Net(), (EXAMPLE,)).workloads()
    kinds = ("conv2d", "matmul")
    assert {w.dtype for w in read if w.kind in kinds} == {"int8"}
    is_read, was_traced = (
        [{**w.to_dict(), "dtype": ""} for w in found if w.kind in kinds] for found in (read, traced)
    )
    assert is_read == was_traced
    for workload in read:
        if workload.dtype == "int8":
            WRITERS[runtime(path)](workload)  # no runtime refuses what is called int8


def test_a_table_of_its_workloads_predicts_it(path: Path) -> None:
    found = export_int8(Net(), EXAMPLE, path, [images(16)])
    workloads = workloads_of_file(found.path)
    with FakeDevice(seed=0) as device:
        rows = tuple(profile(device, plan(workloads, n_shapes=60)))
        table = LatencyTable(device.target, rows)
    dtypes = {m.workload.dtype for m in table.measurements}
    assert dtypes == {w.dtype for w in workloads} >= {"int8"}
    predicted = fit(table).predict_model(workloads)
    assert all("row(s) in the table" in w for w in predicted.warnings)  # few rows of a kind
    assert 0 < float(predicted.latency_s.sum()) < 1


def test_the_fastest_good_choice_is_taken(path: Path) -> None:
    def measure(files: Sequence[Path]) -> list[float]:
        assert [f.stem for f in files] == ["float", "all", "contractions", "dense"]
        return [1.0, 0.50, 0.495, 0.40]

    found = export_int8(Net(), EXAMPLE, path, [images(16)], measure=measure)
    assert (found.choice, found.latency_s, found.float_latency_s) == ("dense", 0.40, 1.0)
    depthwise = [w for w in workloads_of_file(found.path) if "depthwise" in w.label]
    assert [w.dtype for w in depthwise] == ["float32"]

    like = (Net(), EXAMPLE, path, [images(16)])
    near = export_int8(*like, measure=lambda _: [1, 0.5, 0.495, 0.6])
    assert near.choice == "all"  # the difference is noise
    with pytest.warns(Int8Warning, match=r"takes 1\.20 of the float32 file's time"):
        export_int8(*like, measure=lambda _: [1, 1.2, 1.2, 1.2])


def test_what_cannot_be_quantized(path: Path) -> None:
    with pytest.raises(UsageError, match=r"int8 export writes \.onnx or \.tflite"):
        export_int8(Net(), EXAMPLE, path.with_suffix(".pt2"), [images(4)])
    with pytest.raises(UsageError, match="choice is 'most'; expected one of all"):
        export_int8(Net(), EXAMPLE, path, [images(4)], choice="most")
    with pytest.raises(UsageError, match="is no folder"):
        export_int8(Net(), EXAMPLE, path.parent / "nowhere" / path.name, [images(4)])
    if path.suffix == ".tflite":
        with pytest.raises(UsageError, match=r"reduce_range is for \.onnx"):
            export_int8(Net(), EXAMPLE, path, [images(4)], reduce_range=True)
    with pytest.raises(UsageError, match="no whole batch"):
        export_int8(Net(), EXAMPLE, path, [images(1)])
    with pytest.raises(UsageError, match="expected the shapes of the example"):
        export_int8(Net(), EXAMPLE, path, [torch.zeros(4, 3, 9, 8)])
    path.write_text("kept")
    with pytest.raises(ExportError, match="dB from the network; expected 90 dB"):
        export_int8(Net(), EXAMPLE, path, [images(4)], min_sqnr_db=90)
    assert path.read_text() == "kept"
    assert list(path.parent.iterdir()) == [path]


def test_a_tflite_file_is_integers_between_floats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_quantizer", reason="pip install ai-edge-quantizer")
    from ai_edge_litert.interpreter import Interpreter

    monkeypatch.setattr(_MODULE, "export", _golden)
    found = export_int8(Net(), EXAMPLE, tmp_path / "net.tflite", [images(16)])
    interpreter = Interpreter(model_path=str(found.path))
    ops = [op["op_name"] for op in interpreter._get_ops_details()]
    assert (ops[0], ops[-1]) == ("QUANTIZE", "DEQUANTIZE")
    assert {d["dtype"] for d in interpreter.get_input_details()} == {np.float32}
    scales = {len(d["quantization_parameters"]["scales"]) for d in interpreter.get_tensor_details()}
    assert {16, 5} <= scales  # one per output of the convolutions and of the matrix
    assert [w.label for w in workloads_of_file(found.path)] == [
        "conv2d.k3.int8", "conv2d.depthwise.k3.int8", "conv2d.k1.int8",
        "elementwise.hard_swish", "elementwise.add.int8", "matmul.int8",
    ]  # fmt: skip  # XNNPACK has no integer hard-swish


def test_without_the_quantizer_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_MODULE, "export", _golden)
    for name in ("ai_edge_quantizer", "ai_edge_quantizer.quantizer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'latprof\[tflite-export\]'"):
        export_int8(Net(), EXAMPLE, tmp_path / "net.tflite", [images(4)])
    assert not list(tmp_path.iterdir())
