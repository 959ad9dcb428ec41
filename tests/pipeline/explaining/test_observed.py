"""What a profile shows by itself: told with what it takes, and no more."""

from __future__ import annotations

from latprof.devices import OpProfile, OpTime
from latprof.pipeline.explaining import lines_of
from latprof.pipeline.explaining._observed import (
    fallen_ops,
    observation,
    observations,
    ranked,
)
from latprof.pipeline.explaining._ops import RunOp
from latprof.pipeline.explaining._profiling import share_of
from latprof.pipeline.explaining._roofline import Alone
from latprof.pipeline.explaining._verdict import Verdict, VerdictCheck
from latprof.workloads import MatMul

GPU, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def op(name: str, seconds: float, kind: str = "Conv") -> RunOp:
    return RunOp(name, kind, seconds, (name,), None)


def test_ops_that_fell_off_the_provider_are_told_by_kind() -> None:
    """The field ``provider`` of ONNX Runtime's profile, as its documentation has it."""
    times = [
        OpTime("a", "Conv", GPU, 5e-3), OpTime("b", "NonMaxSuppression", CPU, 2e-3),
        OpTime("c", "Conv", GPU, 1e-3), OpTime("d", "NonMaxSuppression", CPU, 1e-3),
    ]  # fmt: skip
    ops = [op(t.name, t.seconds, t.op) for t in times]
    (found,) = fallen_ops(OpProfile(tuple(times), 9e-3, b""), ops, GPU)
    assert found.words == f"2 NonMaxSuppression ops run on {CPU}, not on {GPU}"
    assert found.nodes == ("b", "d")
    assert found.takes_s == 3e-3
    assert found.saves_s is None
    assert lines_of(found)[-1] == "observed only: what it would save was not measured"
    assert not list(fallen_ops(OpProfile(tuple(times[::2]), 6e-3, b""), ops[::2], GPU))


def test_weights_that_do_not_stay_in_the_caches() -> None:
    large, small = MatMul(1, 2048, 2048), MatMul(1, 64, 64)
    ops = [RunOp("x", "MatMul", 4e-3, ("x",), large), RunOp("y", "MatMul", 4e-3, ("y",), small)]
    known = {w: Alone(1e-3, "device") for w in (large, small)}
    shares = [share_of(one, 1e-2, known, None) for one in ops]
    (found,) = observations(ops, shares, 1e-2, [])
    assert found.cause == "cold-weights"
    assert found.nodes == ("x",)
    assert "4.00 ms here and 1.00 ms in a loop" in found.words
    quick = {w: Alone(3.9e-3, "device") for w in known}
    assert not observations(ops, [share_of(one, 1e-2, quick, None) for one in ops], 1e-2, [])


def test_a_row_of_small_ops() -> None:
    ops = [op("big", 1e-3), *(op(f"s{i}", 3e-6, "Add") for i in range(12)), op("last", 2e-6)]
    shares = [share_of(one, 1.1e-3, {}, None) for one in ops]
    (found,) = observations(ops, shares, 1.1e-3, [])
    assert found.cause == "launch-bound"
    assert found.words.startswith("13 ops in a row take 3.00 us at most each")
    assert len(found.nodes) == 13
    # A verdict on all of them says it better.
    told = observation("chain", "", "", found.nodes, 4e-5)
    assert not observations(ops, shares, 1.1e-3, [told])


def test_what_saves_something_comes_first() -> None:
    saves = Verdict("a", "", "", ("n",), 1e-3, None, None, 1e-4, True, VerdictCheck(1e-4, 1e-6))
    seen = [observation("b", "", "", ("m",), s) for s in (1e-3, 9e-3)]
    assert [v.takes_s for v in ranked([*seen, saves])] == [1e-3, 9e-3, 1e-3]
    assert saves.predicted == ""  # measured on the whole file at once
    assert lines_of(saves)[-1].startswith("whole file: saves 100 us")
