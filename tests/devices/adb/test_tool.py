"""benchmark_model: what its versions print, where it comes from, how ops are repeated for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.adbd import elf

from latprof.devices.adb._benchmark_model import (
    ToolRun,
    command_line,
    delegate_flags,
    parse_memory,
    parse_run,
)
from latprof.devices.adb._models import Repeated, Speed, _most_copies, write_repeated
from latprof.devices.adb._tool import DOWNLOADS, RELEASE, cache_path, find_tool
from latprof.errors import DeviceError, ProtocolError, UsageError, WorkloadError
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool, Workload

GOLDEN = Path(__file__).parents[2] / "golden/benchmark_model"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tf1.14", ToolRun(27, 37510.2, 37413, 37510.2, 37603, percentiles=False)),
        ("tf2.5", ToolRun(50, 55043.2, 53077, 55043.2, 60727, percentiles=False)),
        ("tf2.17", ToolRun(214, 231.159, 228, 231.159, 262, percentiles=False)),
        ("litert1.0", ToolRun(214, 231.159, 229, 230, 236, percentiles=True)),
        ("litert1.0-all-same", ToolRun(214, 230, 230, 230, 230, percentiles=True)),
    ],
)
def test_every_versions_output_is_read(name: str, expected: ToolRun) -> None:
    assert parse_run((GOLDEN / f"{name}.txt").read_text(), 0) == expected


def test_the_output_of_litert_s_own_tool_is_read() -> None:
    text = (GOLDEN / "litert2.2.txt").read_text()
    expected = ToolRun(214, 231.159, 229, 230, 236, percentiles=True)
    assert parse_run(text, 0, litert=True) == expected
    same = text.replace(
        "first=231 curr=230 min=228 max=262 avg=231.159 std=3 p5=229 median=230 p95=236",
        "curr=230(all same) p5=230 median=230 p95=230",
    )
    assert parse_run(same, 0, litert=True) == ToolRun(214, 230, 230, 230, 230, percentiles=True)
    with pytest.raises(ProtocolError, match="output ends early"):
        parse_run(text, 0)  # it is not what TFLite's tool prints


@pytest.mark.parametrize(
    ("name", "mib"),
    [("tf1.14", None), ("tf2.5", 18.7227), ("tf2.17", 2.03516), ("litert1.0", 2.03516),
     ("litert2.2", None)],
)  # fmt: skip
def test_the_memory_is_read_where_a_version_prints_it(name: str, mib: float | None) -> None:
    text = (GOLDEN / f"{name}.txt").read_text()
    assert parse_memory(text) == (None if mib is None else mib * 2**20)


def test_the_memory_is_read_as_litert_s_own_tool_prints_it() -> None:
    # BenchmarkLoggingListener, litert/tools/benchmark_litert_model.h
    text = "INFO: \nMemory Usage:\nINFO: Init footprint:       7.25 MB\n"
    assert parse_memory(text) is None
    assert parse_memory(f"{text}INFO: Overall footprint:    18.50 MB\n") == 18.5 * 2**20


@given(st.integers(0, 640))
def test_an_output_of_litert_s_tool_cut_anywhere_is_never_taken_for_figures(cut: int) -> None:
    text = (GOLDEN / "litert2.2.txt").read_text()
    figures = text.rindex(" p95=")
    with pytest.raises(ProtocolError):
        parse_run(text[: max(0, figures - cut)], 0, litert=True)


@pytest.mark.parametrize(
    ("name", "code", "error", "words"),
    [
        ("litert1.0-unknown-flag", 0, DeviceError, "does not know --xnnpack_force_fp16=true"),
        ("litert1.0-truncated", 0, ProtocolError, "output ends early"),
        ("litert1.0-zero", 0, WorkloadError, "0 us"),
        ("litert1.0-bad-model", 1, WorkloadError, "model identifier 'abcd'"),
        ("litert1.0", 139, WorkloadError, "exited with 139"),
    ],
)
def test_what_went_wrong_is_typed(
    name: str, code: int, error: type[DeviceError], words: str
) -> None:
    with pytest.raises(error, match=words):
        parse_run((GOLDEN / f"{name}.txt").read_text(), code)


def test_a_delegate_that_takes_nothing_is_an_error_where_it_was_asked_for() -> None:
    text = (GOLDEN / "litert1.0-gpu-unused.txt").read_text()
    with pytest.raises(WorkloadError, match="GPU delegate takes none"):
        parse_run(text, 0, delegate="GPU")
    assert parse_run(text, 0, delegate="XNNPACK").count == 214


@given(st.binary())
def test_garbage_is_never_taken_for_figures(output: bytes) -> None:
    with pytest.raises((ProtocolError, WorkloadError, DeviceError)):
        parse_run(output.decode("latin-1"), 0)


@given(st.integers(0, 29))
def test_an_output_cut_anywhere_is_never_taken_for_figures(line: int) -> None:
    lines = (GOLDEN / "litert1.0.txt").read_text().splitlines(keepends=True)
    figures = next(i for i, text in enumerate(lines) if "Inference timings" in text)
    cut = "".join(lines[: min(line, figures)])
    with pytest.raises(ProtocolError):
        parse_run(cut, 0)


def test_the_command_line_is_quoted_and_bounded() -> None:
    line = command_line(
        "a b.tflite", threads=2, measure_s=0.05, warmup_s=0.02, limit_s=20, flags=["--x=a'b"]
    )
    assert line.startswith("./benchmark_model '--graph=a b.tflite' --num_threads=2 --num_runs=10 ")
    assert "--min_secs=0.05 --warmup_runs=1 --warmup_min_secs=0.02 --max_secs=20" in line
    assert line.endswith("""'--x=a'"'"'b'""")


def test_delegates_and_their_precision() -> None:
    assert delegate_flags("XNNPACK", "float16") == (
        "--use_xnnpack=true",
        "--xnnpack_force_fp16=true",
    )
    assert "--gpu_precision_loss_allowed=false" in delegate_flags("GPU", "float32")
    with pytest.raises(UsageError, match="does not compute in float16"):
        delegate_flags("none", "float16")
    with pytest.raises(UsageError, match="expected one of XNNPACK, none, GPU, NNAPI, NPU"):
        delegate_flags("HEXAGON", "float32")
    with pytest.raises(UsageError, match="TFLite's benchmark_model, which has no delegate 'NPU'"):
        delegate_flags("NPU", "float32", npu={"dispatch_library_path": "/npu"})


def test_delegates_of_litert_s_own_tool() -> None:
    assert delegate_flags("XNNPACK", "float32", litert=True) == ("--use_cpu=true",)
    whole = ("--use_cpu=false", "--require_full_delegation=true")
    half = delegate_flags("GPU", "float16", litert=True)
    assert half == ("--use_gpu=true", *whole, "--allow_fp16=true")
    npu = {"mediatek_nerun_pilot_version": "version9", "dispatch_library_path": "/npu"}
    assert delegate_flags("NPU", "int8", litert=True, npu=npu) == (
        "--use_npu=true",
        *whole,
        "--dispatch_library_path=/npu",
        "--mediatek_nerun_pilot_version=version9",
    )
    with pytest.raises(UsageError, match="needs dispatch_library_path"):
        delegate_flags("NPU", "float32", litert=True)
    with pytest.raises(UsageError, match="mediatek_nerun_pilot_version is for delegate=NPU"):
        delegate_flags("GPU", "float32", litert=True, npu=npu)
    with pytest.raises(UsageError, match=r"does not compute in float16; expected GPU$"):
        delegate_flags("XNNPACK", "float16", litert=True)
    with pytest.raises(UsageError, match="no delegate 'NNAPI'; expected one of XNNPACK, GPU, NPU"):
        delegate_flags("NNAPI", "float32", litert=True)


def test_libraries_are_found_by_the_loader_and_by_the_signal_processor() -> None:
    limits = {"threads": 1, "measure_s": 0.0, "warmup_s": 0.0, "limit_s": 1.0}
    line = command_line("m", libraries="/a b", **limits)  # type: ignore[arg-type]
    assert line.startswith("env 'LD_LIBRARY_PATH=/a b' 'ADSP_LIBRARY_PATH=/a b' ./benchmark_model ")
    assert command_line("m", **limits).startswith("./benchmark_model ")  # type: ignore[arg-type]


# -- the binary ------------------------------------------------------------------------------------


def test_a_binary_given_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_model"
    path.write_bytes(elf())
    digest = hashlib.sha256(elf()).hexdigest()
    tool = find_tool("arm64-v8a", str(path), digest)
    assert (tool.data, tool.version) == (elf(), f"benchmark_model {digest[:12]}")
    with pytest.raises(UsageError, match=f"has sha256 {digest}; expected 0000"):
        find_tool("arm64-v8a", str(path), "0000")


def test_a_binary_of_another_abi(tmp_path: Path) -> None:
    path = tmp_path / "benchmark_model"
    path.write_bytes(elf(machine=62))
    with pytest.raises(UsageError, match="built for x86_64; the phone's ABI is arm64-v8a"):
        find_tool("arm64-v8a", str(path))
    path.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(UsageError, match="expected an ELF binary for arm64-v8a"):
        find_tool("arm64-v8a", str(path))


def test_no_binary_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="--benchmark-model download for LiteRT 2"):
        find_tool("arm64-v8a")
    with pytest.raises(UsageError, match=r"no file .*nowhere"):
        find_tool("arm64-v8a", str(tmp_path / "nowhere"))


def test_a_download_is_shown_checked_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "served").write_bytes(elf())
    address = (tmp_path / "served").as_uri()
    with pytest.raises(UsageError, match="expected ffff"):
        find_tool("arm64-v8a", address, "ffff")
    assert not cache_path("arm64-v8a").exists()
    tool = find_tool("arm64-v8a", address)
    assert address in caplog.text
    assert tool.sha256 in caplog.text
    assert find_tool("arm64-v8a").data == elf()
    with pytest.raises(DeviceError, match="cannot download"):
        find_tool("arm64-v8a", (tmp_path / "gone").as_uri())


def test_a_file_that_changed_since_its_first_download_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    served = tmp_path / "served"
    served.write_bytes(elf())
    address = served.as_uri()
    first = find_tool("arm64-v8a", address)
    served.write_bytes(elf("tf2.17"))
    digest = hashlib.sha256(elf("tf2.17")).hexdigest()
    with pytest.raises(
        UsageError, match=f"has sha256 {digest}; the first download had {first.sha256}"
    ):
        find_tool("arm64-v8a", address)
    assert find_tool("arm64-v8a").data == elf()  # what is kept stays
    assert find_tool("arm64-v8a", address, digest).data == elf("tf2.17")  # asked for by its digest
    assert find_tool("arm64-v8a", address).sha256 == digest
    cache_path("arm64-v8a").write_bytes(elf())
    with pytest.raises(UsageError, match=f"the first download had {digest}"):
        find_tool("arm64-v8a")


def test_a_release_must_have_the_digits_that_are_known_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "served").write_bytes(elf("litert2.2"))
    digest = hashlib.sha256(elf("litert2.2")).hexdigest()
    address, digits = DOWNLOADS["arm64-v8a"]
    assert f"/{RELEASE}/android_arm64/" in address
    assert len(digits) == 8
    served = (tmp_path / "served").as_uri()
    monkeypatch.setitem(DOWNLOADS, "arm64-v8a", (served, digits))
    with pytest.raises(UsageError, match=f"has sha256 {digest}; LiteRT {RELEASE}'s begins with"):
        find_tool("arm64-v8a", "download")
    assert not cache_path("arm64-v8a").exists()
    assert find_tool("arm64-v8a", "download", digest).litert
    monkeypatch.setitem(DOWNLOADS, "arm64-v8a", (served, digest[:8]))
    assert not find_tool("arm64-v8a", "download").source.startswith("http")
    with pytest.raises(UsageError, match="no benchmark_model for ABI x86; it has one for arm64"):
        find_tool("x86", "download")


# -- repeated ops ----------------------------------------------------------------------------------

WORKLOADS: tuple[Workload, ...] = (
    Conv2d(7, 7, 24, 24),
    Conv2d(7, 7, 24, 40),
    Conv2d(8, 8, 24, 24, kernel=3, groups=24),
    Conv2d(8, 8, 24, 24, kernel=2, stride=2),
    Conv2d(8, 8, 3, 16, kernel=3, stride=2),
    MatMul(4, 32, 48),
    MatMul(8, 16, 8, batch=2, weights=False),
    *(
        Elementwise(op, 5, 5, 8)
        for op in ("add", "mul", "scale", "relu", "hard_swish", "gelu", "softmax", "layer_norm")
    ),
    *(Elementwise(op, 5, 1, 8) for op in ("embedding", "mean", "neg", "square")),
    Pool("max", 8, 8, 16, kernel=3, stride=2),
    Pool("avg", 8, 8, 16, kernel=3),
    Pool("global_avg", 7, 7, 16),
)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.family)
def test_copies_run_and_give_finite_numbers(workload: Workload) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    for copies in (1, 5):
        runner = interpreter.Interpreter(
            model_content=write_repeated(Repeated(workload, copies)), num_threads=1
        )
        runner.allocate_tensors()
        inputs = runner.get_input_details()
        assert len(inputs) <= 2
        rng = np.random.default_rng(0)
        for detail in inputs:
            value = rng.random(detail["shape"]) - 0.5
            runner.set_tensor(detail["index"], value.astype(detail["dtype"]))
        runner.invoke()
        for detail in runner.get_output_details():
            assert np.isfinite(runner.get_tensor(detail["index"]).astype(float)).all()
        ops = [op["op_name"] for op in runner._get_ops_details() if op["op_name"] != "DELEGATE"]
        assert len(ops) % copies == 0


@given(st.floats(1e-6, 1e-2), st.sampled_from(WORKLOADS))
def test_copies_grow_until_the_clock_resolves_them(op_s: float, workload: Workload) -> None:
    repeated = Repeated.guess(workload, Speed())
    for _ in range(4):
        repeated = repeated.after(op_s * repeated.copies)
    assert op_s * repeated.copies >= 100e-6 or repeated.copies == _most_copies(workload)


@given(st.integers(1, 96), st.floats(1e-7, 1e-3), st.floats(0, 1e-5))
def test_per_op_undoes_the_copies(copies: int, op_s: float, overhead_s: float) -> None:
    repeated = Repeated(WORKLOADS[0], copies)
    invoke_s = overhead_s + copies * op_s
    if overhead_s <= invoke_s / 2:
        assert repeated.per_op_s(invoke_s, overhead_s) == pytest.approx(overhead_s + op_s)
    assert repeated.per_op_s(invoke_s, overhead_s) > 0


def test_copies_cost_no_room_in_the_file() -> None:
    one, many = (write_repeated(Repeated(Conv2d(7, 7, 96, 160), n)) for n in (1, 40))
    assert len(many) < len(one) + 40 * 400


def test_copies_of_large_ops_stay_few() -> None:
    phone = Speed(macs_per_s=20e9, bytes_per_s=10e9)
    assert Repeated.guess(MatMul(1, 2048, 2048), phone).copies == 1
    assert Repeated.guess(Conv2d(56, 56, 128, 128), phone).copies == 1
    assert Repeated.guess(MatMul(1, 365, 409), phone).copies == 1
    assert Repeated.guess(Conv2d(7, 7, 16, 16), phone).copies == 96
