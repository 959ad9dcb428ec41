"""Training for an int8 file: its ops are looked up as int8, and it is what the budget is met by."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.run import Arithmetic, Net, data, fake_run, surrogate

from latprof import Compressor
from latprof.compress import Latency, LowRank, Prune, export_int8, trace, workloads_of_file
from latprof.compress.cost._cost import LatencyCost
from latprof.errors import UsageError
from latprof.pipeline.run import Deployment, RunFile
from latprof.surrogate import Surrogate

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")
pytest.importorskip("onnxruntime")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

EXAMPLE = (torch.zeros(1, 1, 12, 12),)
CHOICES = pytest.mark.parametrize("choice", ["all", "contractions", "dense"])


def cost(choice: str, of: Surrogate, *blocks: Prune | LowRank) -> LatencyCost:
    latency = Latency(of, int8=choice)
    comp = Compressor(Net(), EXAMPLE, latency, "75%", blocks=blocks or [Prune()])
    assert isinstance(comp.cost_model, LatencyCost)
    return comp.cost_model


def on(runtime: str, precision: str = "float32") -> Surrogate:
    target = replace(surrogate().target, runtime=runtime, precision=precision)
    return replace(surrogate(), target=target)


@CHOICES
def test_the_ops_are_those_of_the_file(choice: str, tmp_path: Path) -> None:
    found = export_int8(Net(), EXAMPLE, tmp_path / "net.onnx", [data()[1][0]], choice=choice)
    space = cost(choice, on("onnxruntime")).space
    assert Counter(space.workloads(space.sizes)) == Counter(workloads_of_file(found.path))


@CHOICES
def test_on_tflite_a_relu_is_where_the_rounding_clips(choice: str) -> None:
    space = cost(choice, on("tflite")).space
    labels = {w.label for w in space.workloads(space.sizes)}
    pool = "pool.global_avg.int8" if choice == "all" else "pool.global_avg"
    # a convolution of one channel is a depthwise one to TFLite
    floats = {"conv2d.k3", "elementwise.relu"} if choice == "dense" else set()
    assert labels == {"conv2d.k3.int8", "conv2d.k1.int8", "matmul.int8", pool} | floats


def test_the_cost_is_what_the_int8_rows_say() -> None:
    of = cost("all", surrogate(), Prune(), LowRank())
    sizes = of.space.sizes
    workloads = of.space.workloads(sizes, of.paying(sizes))
    predicted = float(surrogate().predict_model(workloads).latency_s)
    assert of.exact(sizes) == pytest.approx(predicted, rel=1e-6)
    assert float(of(torch.tensor(sizes).float())) == pytest.approx(predicted, rel=0.02)
    whole = trace(Net(), EXAMPLE).workloads()
    assert predicted < float(surrogate().predict_model(whole).latency_s)
    least = [g.minimum if g.prunable else g.size for g in of.space.groups]
    assert of.exact(least) < predicted


def test_where_the_whole_target_is_int8_its_rows_are_read_as_they_are() -> None:
    space = cost("all", on("tflite", precision="int8")).space
    assert {w.dtype for w in space.workloads(space.sizes)} == {"float32"}


def test_what_cannot_be_looked_up() -> None:
    with pytest.raises(UsageError, match="int8 is 'some'; expected one of all"):
        cost("some", surrogate())
    floats = {k: v for k, v in surrogate().labels.items() if not k.endswith("int8")}
    with pytest.raises(UsageError, match=r"has no int8 op; profile it with an int8 file"):
        cost("all", replace(surrogate(), labels=floats))


def test_a_run_meets_its_budget_with_the_int8_file(tmp_path: Path) -> None:
    done, result = fake_run(tmp_path / "run", int8=True, trail=0)
    small = result.compressed
    assert result.met
    assert small.latency_s == pytest.approx(done.comp.cost(), rel=0.12)
    # the prediction of the file is not calibrated by whole models: within its interval
    assert 1 / 1.65 < small.latency_s / small.predicted_s < 1.65
    read = workloads_of_file(Path(small.file))
    assert {w.dtype for w in read if w.kind == "conv2d"} == {"int8"}
    assert small.accuracy > 0.6  # of the file; 0.25 is chance
    assert done.comp.counts() != done.comp.space.sizes
    assert {row.op.split()[0] for row in result.layers} >= {"conv2d.k3.int8", "matmul.int8"}
    with Arithmetic(seed=3, stair=8) as device:  # chosen once: nothing is measured again
        again = Deployment(device, tmp_path / "run", EXAMPLE).in_int8(Net(), data()[0])
    assert again.int8 == "all"


def test_a_run_file_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    texts = 'model = "a:b"\ndata = "a:c"\ntable = "t"\nout = "o"\n'
    path.write_text(texts + "int8 = true\n")
    assert RunFile.load(path).settings.int8
    path.write_text(texts + 'int8 = "yes"\n')
    with pytest.raises(UsageError, match="int8 is 'yes'; expected true or false"):
        RunFile.load(path)
