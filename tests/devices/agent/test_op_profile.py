"""What each op takes inside a file, by the runtimes' own profilers."""

from __future__ import annotations

from pathlib import Path

import pytest

from latprof.devices import open_device
from latprof.devices.agent.runtimes import write_tflite
from latprof.devices.agent.runtimes._profile_turns import Pair, quietest
from latprof.devices.agent.runtimes._tflite_profile import _run_of
from latprof.workloads import Conv2d, Elementwise

OPS = [Conv2d(14, 14, 24, 48), Elementwise("relu6", 14, 14, 48), Conv2d(14, 14, 48, 48)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pytest.importorskip("ai_edge_litert")
    path = tmp_path / "model.tflite"
    path.write_bytes(write_tflite([op.with_dtype("int8") for op in OPS]))
    return path


def test_litert_says_what_runs_in_xnnpack_and_what_does_not(file: Path) -> None:
    with open_device("local", runtime="tflite") as device:
        found = device.profile_ops(file, measure_s=0.05)
    outside = [op for op in found.ops if op.provider == "builtin"]
    inside = [op for op in found.ops if op.provider == "XNNPACK"]
    assert [op.name for op in outside] == ["RELU6:1"]  # of integers, XNNPACK takes none
    assert len(inside) == 2
    assert len({op.name for op in found.ops}) == len(found.ops)
    assert found.whole_s > 0
    assert found.graph == b""


def test_litert_without_xnnpack_runs_the_ops_of_the_file(file: Path) -> None:
    with open_device("local", runtime="tflite", xnnpack="false") as device:
        found = device.profile_ops(file, measure_s=0.05)
    assert [op.name for op in found.ops] == ["CONV_2D:0", "RELU6:1", "CONV_2D:2"]
    assert {op.provider for op in found.ops} == {"builtin"}


def test_a_file_that_litert_refuses_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "model.tflite").write_bytes(b"no model")
    with (
        open_device("local", runtime="tflite") as device,
        pytest.raises(Exception, match=r"^[^\n]+$") as caught,
    ):
        device.profile_ops(tmp_path / "model.tflite", measure_s=0.05)
    assert type(caught.value).__name__ == "WorkloadError"


class _Event:
    def __init__(self, tag: str, event_type: int, number: int, took_us: int) -> None:
        self.tag, self.event_type = tag.encode(), event_type
        self.number, self.took_us = number, took_us


def test_parts_of_a_delegate_are_told_apart() -> None:
    events = [
        _Event("Invoke", 1, 0, 99), _Event("Conv", 8, 0, 5), _Event("Add", 8, 1, 2),
        _Event("TOPK_V2", 2, 2, 7), _Event("Conv", 8, 0, 3), _Event("Conv", 8, 0, 4),
    ]  # fmt: skip
    run = _run_of(events)
    assert [name for name, _, _ in run] == [
        "XNNPACK 0/Conv:0", "XNNPACK 0/Add:1", "TOPK_V2:2", "XNNPACK 1/Conv:0", "XNNPACK 2/Conv:0",
    ]  # fmt: skip
    assert sum(run.values()) == pytest.approx(21e-6)


def test_a_profile_that_lacks_runs_is_refused() -> None:
    with pytest.raises(Exception, match="does not hold the ops of every run"):
        quietest([], [Pair(1.0, 1.0)], "it")


def test_torch_says_what_the_nodes_of_a_program_take(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.Flatten()
    )
    program = torch.export.export(net.eval(), (torch.randn(1, 3, 12, 12),))
    torch.export.save(program, tmp_path / "model.pt2")
    with open_device("local", runtime="torch") as device:
        found = device.profile_ops(tmp_path / "model.pt2", measure_s=0.05)
    assert [(op.name, op.op) for op in found.ops] == [
        ("conv2d", "aten::conv2d"), ("relu", "aten::relu"), ("conv2d_1", "aten::conv2d"),
        ("flatten", "aten::flatten"),
    ]  # fmt: skip
    assert {op.provider for op in found.ops} == {"eager"}
    assert found.whole_s > 0
