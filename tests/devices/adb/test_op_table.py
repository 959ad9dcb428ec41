"""What ops take on a phone: the table that benchmark_model prints, and the profile of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.adbd import Phone, elf
from support.phone_jobs import Open
from support.slow_tflite import SLOW_TFLITE

import latprof
from latprof.devices import OpTime
from latprof.devices._op_table import read_op_table
from latprof.devices.agent.runtimes import write_tflite
from latprof.errors import ProtocolError, UsageError
from latprof.workloads import Conv2d, Elementwise

pytest_plugins = ["support.adb"]

GOLDEN = Path(__file__).parents[2] / "golden/benchmark_model"


@pytest.fixture
def backend() -> str:
    return "direct"


def test_the_table_of_a_new_tool_is_read() -> None:
    ops = read_op_table((GOLDEN / "litert1.0-ops.txt").read_text(), "XNNPACK")
    assert ops[0] == OpTime("[tfl.quantize]:0", "QUANTIZE", "builtin", 0.203 * 1e-3)
    conv, depthwise = ops[1:3]
    assert conv.provider == "XNNPACK"
    assert conv.name == "Delegate/Convolution (NHWC, QC8) IGEMM:0"
    assert depthwise.seconds == pytest.approx(13 * 51e-6)  # of one name in 13 parts
    assert len(ops) == 4


def test_the_table_of_an_old_tool_is_read() -> None:
    ops = read_op_table((GOLDEN / "tf1.14-ops.txt").read_text(), "NNAPI")
    assert [(op.op, op.provider) for op in ops] == [
        ("TfLiteNnapiDelegate", "NNAPI"), ("AVERAGE_POOL_2D", "builtin"),
        ("TfLiteNnapiDelegate", "NNAPI"),
    ]  # fmt: skip
    assert ops[0].seconds == pytest.approx(11.422e-3)
    assert ops[1].name == "[AvgPool2D/AvgPool]:61"


@pytest.mark.parametrize("name", ["litert1.0-ops", "tf1.14-ops"])
def test_a_table_cut_anywhere_is_refused(name: str) -> None:
    text = (GOLDEN / f"{name}.txt").read_text()
    for end in range(0, text.index("\n\n", text.index("Operator-wise")), 7):
        with pytest.raises(ProtocolError, match=r"^[^\n]+$"):
            read_op_table(text[:end], "XNNPACK")


def test_a_phone_says_what_ops_take(phone: Phone, open_device: Open, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    ops = [Conv2d(14, 14, 24, 48), Elementwise("relu6", 14, 14, 48), Conv2d(14, 14, 48, 48)]
    path.write_bytes(write_tflite([op.with_dtype("int8") for op in ops]))
    found = open_device(phone, tool="litert1.0").profile_ops(path, measure_s=0.02)
    assert [op.name for op in found.ops if op.provider == "builtin"] == ["[relu6]:1"]
    assert sum(op.provider == "XNNPACK" for op in found.ops) == 2
    assert found.whole_s > 0


@pytest.mark.slow
def test_why_explains_a_file_on_a_phone(phone: Phone, home: Path, tmp_path: Path) -> None:
    tool = tmp_path / "benchmark_model"
    tool.write_bytes(elf("litert1.0"))
    found = latprof.why(
        SLOW_TFLITE["activation"][0](tmp_path / "slow.tflite"),
        device=f"adb:{phone.serial}",
        max_s=60,
        backend="direct",
        key=str(home / ".android/adbkey"),
        benchmark_model=str(tool),
    )
    assert found.target.device.startswith("Pixel 6/")
    assert [op.op for op in found.ops if op.op == "RELU6"] == ["RELU6"]
    first = found.verdicts[0]
    assert first.cause in ("activation", "outside-delegate")  # by the load that it met
    assert first.takes_s > 0


def test_litert_s_own_tool_is_refused(phone: Phone, open_device: Open, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give TFLite's"):
        open_device(phone, tool="litert2.2").profile_ops(tmp_path / "m.tflite", measure_s=0.02)
