"""``why`` of .tflite files: what is found in them, and copies with the advice applied."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from ai_edge_litert.interpreter import Interpreter
from support.slow_tflite import SLOW_TFLITE

import latprof
from latprof.devices import OpTime
from latprof.devices.agent.runtimes import write_tflite
from latprof.errors import ModelLoadError
from latprof.pipeline.explaining.tflite import (
    TfliteCandidate,
    TfliteEdit,
    TfliteFile,
    activations,
    channels,
    dead_ops,
    load_tflite_file,
    outside_delegate,
    round_trips,
    run_tflite_ops,
)
from latprof.workloads import Conv2d, Elementwise


def candidates(file: TfliteFile) -> list[TfliteCandidate]:
    alone = {n for n, kind in enumerate(file.kinds) if kind in ("RELU6", "RELU")}
    return [*dead_ops(file), *round_trips(file), *activations(file, alone), *channels(file)]


def outputs(path: Path) -> list[np.ndarray]:
    inputs = load_tflite_file(path).random_inputs()
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], inputs[detail["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


@pytest.mark.parametrize("name", sorted(SLOW_TFLITE))
def test_advice_keeps_the_outputs(name: str, tmp_path: Path) -> None:
    write, cause = SLOW_TFLITE[name]
    path = write(tmp_path / "slow.tflite")
    file = load_tflite_file(path)
    found = [one for one in candidates(file) if one.cause == cause]
    assert found
    before = outputs(path)
    for number, one in enumerate(found):
        edit = TfliteEdit(file)
        assert one.apply is not None
        one.apply(edit)
        after = outputs(edit.save(tmp_path / f"changed-{number}.tflite"))
        for a, b in zip(before, after, strict=True):
            # Of int8, a step: the op before rounds at the activation's scale.
            limit = 1.0 if a.dtype == np.int8 else 1e-5 * np.abs(a).max()
            assert np.abs(a.astype(np.float64) - b).max() <= limit


def test_an_ordinary_file_has_nothing_to_try(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(write_tflite([Conv2d(14, 14, 16, 32), Conv2d(14, 14, 32, 32, kernel=3)]))
    assert candidates(load_tflite_file(path)) == []


def test_ops_of_a_delegate_are_found_in_the_file(tmp_path: Path) -> None:
    path = SLOW_TFLITE["activation"][0](tmp_path / "slow.tflite")
    file = load_tflite_file(path)
    ran = [
        OpTime("XNNPACK 0/x:0", "Fully Connected (NC, QS8, QC8W) GEMM", "XNNPACK", 1.0),
        OpTime("RELU6:1", "RELU6", "builtin", 2.0),
        OpTime("XNNPACK 1/x:0", "Convolution (NHWC, QC8) IGEMM", "XNNPACK", 3.0),
    ]
    ops = run_tflite_ops(file, ran, [op.seconds for op in ran], [None] * 3)
    assert [op.nodes for op in ops] == [(file.name(n),) for n in range(3)]
    assert [op.reads for op in ops] == [(), (0,), (1,)]
    (one,) = outside_delegate(file, {1}, "XNNPACK")
    assert one.words == "RELU6 runs outside of XNNPACK, on integers"
    assert one.apply is None


def test_what_a_delegate_fused_counts_to_the_op_before(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(write_tflite([Conv2d(14, 14, 16, 32), Elementwise("relu6", 14, 14, 32),
                                   Conv2d(14, 14, 32, 32, kernel=3, groups=32)]))  # fmt: skip
    file = load_tflite_file(path)
    ran = [
        OpTime("a", "Fully Connected (NC, F32) GEMM", "XNNPACK", 1.0),
        OpTime("b", "Transpose (ND, X32)", "XNNPACK", 1.0),  # XNNPACK's own
        OpTime("c", "Convolution (NHWC, F32) DWConv", "XNNPACK", 1.0),
    ]
    ops = run_tflite_ops(file, ran, [1.0] * 3, [None] * 3)
    assert [len(op.nodes) for op in ops] == [2, 0, 1]


def test_parts_that_a_delegate_runs_in_one_go_have_their_ops(tmp_path: Path) -> None:
    path = SLOW_TFLITE["activation"][0](tmp_path / "slow.tflite")
    file = load_tflite_file(path)
    ran = [
        OpTime(f"[{file.name(0)}]:3", "TfLiteGpuDelegateV2", "GPU", 1.0),
        OpTime(f"[{file.name(1)}]:1", "RELU6", "builtin", 2.0),
        OpTime(f"[{file.name(2)}]:4", "TfLiteGpuDelegateV2", "GPU", 3.0),
    ]
    ops = run_tflite_ops(file, ran, [1.0, 2.0, 3.0], [None] * 3)
    assert [op.nodes for op in ops] == [(file.name(n),) for n in range(3)]


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no such file"):
        latprof.why(tmp_path / "model.tflite")
    (tmp_path / "model.tflite").write_bytes(b"no model at all")
    with pytest.raises(ModelLoadError, match="not a TFLite model"):
        latprof.why(tmp_path / "model.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["activation", "round_trip"])
def test_the_cause_comes_first(name: str, tmp_path: Path) -> None:
    write, cause = SLOW_TFLITE[name]
    found = latprof.why(write(tmp_path / "slow.tflite"))
    assert found.verdicts[0].cause == cause
    assert found.verdicts[0].checked is not None
    assert found.verdicts[0].checked.saves_s == found.verdicts[0].saves_s
    assert found.verdicts[0].predicted == ""
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.html().count("<rect") == len(found.ops)
