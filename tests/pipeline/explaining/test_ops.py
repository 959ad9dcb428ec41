"""From a profile to ops with their nodes, and times without what the profiler adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.slow_files import SLOW_FILES

from latprof.devices import OpTime, open_device
from latprof.errors import ModelLoadError, UsageError, WorkloadError
from latprof.pipeline.explaining._ops import correct_for_profiler, run_ops
from latprof.pipeline.explaining.graph import load_file, save_model
from latprof.pipeline.explaining.timed import AloneTimes


@given(st.lists(st.floats(0, 1e-2), min_size=1, max_size=50), st.floats(1e-7, 1e-2))
def test_ops_never_take_more_than_the_whole_where_that_can_be(
    seconds: list[float], whole_s: float
) -> None:
    found = correct_for_profiler(seconds, whole_s)
    assert all(0 <= after <= before for before, after in zip(seconds, found, strict=True))
    if sum(seconds) <= whole_s:
        assert found == seconds
    else:
        # A quarter of each is left at least; above that, the sum is the whole.
        assert sum(found) == pytest.approx(max(whole_s, sum(seconds) / 4), rel=1e-3)


def test_rounds_must_agree() -> None:
    old, new, same = Path("old"), Path("new"), Path("same")
    times = AloneTimes(
        {
            old: (2.0, 2.1, 2.0, 2.0, 2.0, 9.0),
            new: (1.0, 1.0, 1.1, 1.0, 1.0, 9.5),
            same: (2.1, 2.0, 2.1, 1.9, 1.9, 2.0),
        }
    )
    assert times.saved_s(old, new) == pytest.approx(1.0)
    assert times.saved_s(old, new, proportion=0.6) == pytest.approx(1.0)
    assert times.saved_s(old, new, proportion=0.5) == 0.0  # no more than in proportion
    assert times.saved_s(old, same) == 0.0
    assert times.saved_s(new, old) == 0.0


def test_op_times_are_checked() -> None:
    with pytest.raises(WorkloadError):
        OpTime("n", "Conv", "CPU", float("nan"))
    with pytest.raises(WorkloadError):
        OpTime("n", "Conv", 3, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["channels", "float_island", "dead_branch", "one_row"])
def test_the_runtimes_ops_are_found_in_the_file(name: str, tmp_path: Path) -> None:
    model = load_file(SLOW_FILES[name][0](tmp_path / "slow.onnx"))
    path = save_model(model.proto, tmp_path / "whole.onnx")
    with open_device("local", runtime="onnxruntime") as device:
        profile = device.profile_ops(path, measure_s=0.05)
    ops = run_ops(model, profile, [op.seconds for op in profile.ops])
    covered = {node for op in ops for node in op.nodes}
    heavy = {n.output[0] for n in model.nodes if n.op_type in ("Conv", "MatMul")}
    assert heavy <= covered
    computing = [op for op in ops if op.op in ("Conv", "MatMul", "QLinearConv")]
    assert all(op.workload is not None and op.workload.macs for op in computing)
    assert all(source < number for number, op in enumerate(ops) for source in op.reads)
    assert profile.whole_s > 0
    assert np.sum([op.seconds for op in ops]) > 0


def test_what_cannot_be_explained_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected \.onnx"):
        load_file(tmp_path / "model.tflite")
    with pytest.raises(ModelLoadError, match="no such file"):
        load_file(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelLoadError, match="not an ONNX model"):
        load_file(tmp_path / "model.onnx")
    with open_device("fake") as fake, pytest.raises(UsageError, match="expected ONNX Runtime"):
        fake.profile_ops(tmp_path / "model.onnx", measure_s=0.1)
    with (
        open_device("local", runtime="onnxruntime") as device,
        pytest.raises(WorkloadError),
    ):
        device.profile_ops(tmp_path / "model.onnx", measure_s=0.1)
