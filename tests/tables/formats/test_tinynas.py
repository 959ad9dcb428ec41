"""A published V100 table is a table like any other: fitted, predicted from, shrunk by."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from latprof._cli import cli
from latprof.surrogate import Surrogate, fit
from latprof.tables import LatencyTable
from latprof.workloads import Conv2d

#: Where the published file is, for those who have it (TinyNAS, conv_fp32.txt).
PUBLISHED = os.environ.get("LATPROF_TINYNAS_TABLE", "")
BATCH, SIDE = 128, 14


def _law_ms(c_in: int, c_out: int) -> float:
    """Tiles of 32 output channels at 10 TFLOP/s, and memory at 800 GB/s."""
    pixels = BATCH * SIDE**2
    compute_s = 2 * pixels * c_in * 32 * -(-c_out // 32) / 10e12
    memory_s = 4 * pixels * (c_in + c_out) / 800e9
    return 1e3 * (5e-6 + max(compute_s, memory_s))


@pytest.fixture(scope="module", params=["written", "published"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    folder = tmp_path_factory.mktemp("tinynas")
    source = folder / "conv_fp32.txt"
    if request.param == "published":
        if not PUBLISHED:
            pytest.skip("LATPROF_TINYNAS_TABLE names no conv_fp32.txt")
        source.write_bytes(Path(PUBLISHED).read_bytes())
    else:
        widths = range(8, 265, 32)
        source.write_text("".join(
            f"{{Regular,{BATCH},{a},{SIDE},{SIDE},{b},1,1,0}} {_law_ms(a, b):.6f}\n"
            for a in widths for b in widths
        ))  # fmt: skip
    done = CliRunner().invoke(cli, ["table", "import", "--format", "tinynas-trt", str(source)])
    assert done.exit_code == 0, done.output
    return LatencyTable.load(folder / "conv_fp32.parquet")


@pytest.fixture(scope="module")
def surrogate(table: LatencyTable) -> Surrogate:
    rows = [m for m in table.usable if m.workload.label == "conv2d.k1"]
    order = np.random.default_rng(0).permutation(len(rows))[:600]
    return fit(LatencyTable(table.target, tuple(rows[i] for i in order)), method="tile")


def test_the_target_says_what_was_measured(table: LatencyTable) -> None:
    assert (table.target.device, table.target.runtime) == ("NVIDIA V100", "tensorrt")
    assert table.target.precision == "float32"


def test_it_predicts_rows_it_has_not_seen(table: LatencyTable, surrogate: Surrogate) -> None:
    shapes = [m for m in table.usable if m.workload.label == "conv2d.k1"]
    truth_s = np.array([m.latency_s for m in shapes])
    predicted_s = surrogate.predict([m.workload for m in shapes]).latency_s
    assert np.median(np.abs(predicted_s / truth_s - 1)) < 0.15


def test_a_network_shrinks_by_it(surrogate: Surrogate) -> None:
    torch = pytest.importorskip("torch")
    from latprof import Compressor, Prune
    from latprof.compress import trace

    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Conv2d(a, b, 1) for a, b in ((64, 160), (160, 64))))
    example = (torch.zeros(BATCH, 64, SIDE, SIDE),)
    before = trace(model, example).workloads()
    assert all(isinstance(w, Conv2d) and w.batch == BATCH for w in before)
    comp = Compressor(model, example, surrogate, budget="60%", blocks=[Prune()])
    optimizer = torch.optim.SGD(comp.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        x = torch.randn(4, 64, SIDE, SIDE)
        loss = (comp(x) - x).square().mean() + comp.penalty()
        loss.backward()
        optimizer.step()
        comp.step()
    after = trace(comp.shrink(), example).workloads()
    full_s, small_s = (float(np.sum(surrogate.predict(w).latency_s)) for w in (before, after))
    assert small_s <= 0.6 * full_s * 1.01
