"""A run whose budget is a latency, met by pruning and by weights of few bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.run import Arithmetic
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from latprof.compress import (
    Batches,
    Prune,
    Quantize,
    TrainSettings,
    trace,
    workloads_of_file,
)
from latprof.compress.train import as_batches
from latprof.devices import profile
from latprof.pipeline.run import Deployment, Settings, compress_in, conclude
from latprof.surrogate import fit
from latprof.tables import LatencyTable, few_bits, plan
from latprof.workloads import MatMul

pytest.importorskip("onnxscript", reason="pip install 'latprof[onnx]'")
pytest.importorskip("onnxruntime")

# the exporter runs code that warns of torch's own plans
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

FEATURES = 64
EXAMPLE = (torch.zeros(1, FEATURES),)


def data() -> tuple[Batches, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (320,), generator=generator)
    inputs = torch.randn(320, FEATURES, generator=generator)
    inputs[:, :4] += 3 * nn.functional.one_hot(labels, 4)
    rows = TensorDataset(inputs, labels)
    return as_batches(rows, batch=32, seed=0), (inputs, labels)


def test_the_file_has_few_bits_and_meets_the_budget(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 4)
    ).eval()
    shapes = plan(trace(model, EXAMPLE).workloads(), n_shapes=60)
    batches, test = data()
    settings = Settings(
        budget="40%",
        blocks=(Prune(), Quantize(bits=(4, 8), grid="symmetric", scales="channel")),
        masks=TrainSettings(2, lr=4e-3, final=0.5),
        fine_tune=TrainSettings(1, lr=2e-3),
        trail=0,
    )
    with Arithmetic(seed=3, stair=8) as device:  # its time is arithmetic, and bytes
        rows = tuple(profile(device, [*shapes, *few_bits(shapes, (4, 8))]))
        surrogate = fit(LatencyTable(device.target, rows))
        deployment = Deployment(device, tmp_path, EXAMPLE)
        done = compress_in(deployment, model, surrogate, settings, batches)
        networks = {
            "original": (model, done.comp.space.sizes),
            "compressed": (done.small, done.comp.counts()),
        }
        result = conclude(deployment, networks, done, test)
    assert result.met
    file = Path(result.compressed.file)
    assert any(isinstance(w, MatMul) and w.weight_bits for w in workloads_of_file(file))
    # the prediction of the file is not calibrated by whole models: within its interval
    assert 1 / 1.65 < result.compressed.latency_s / result.compressed.predicted_s < 1.65
    assert result.compressed.accuracy > 0.6  # of the file; 0.25 is chance
    assert {row.after for row in result.widths if row.group.endswith("/bits")} <= {0, 1, 2, 3}
