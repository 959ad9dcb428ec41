"""A profile with 2:4 weights: which rows it has, what a fit and ``pays`` make of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import answer

import latprof
from latprof.errors import UsageError
from latprof.tables import in_pattern
from latprof.workloads import Conv2d, MatMul

MLP = "support.few_bits:mlp"


def test_linear_layers_are_measured_with_half_of_their_weights_too(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    (result,) = latprof.profile("fake", MLP, path, shapes=60, patterns=("2:4",))
    rows = {m.workload for m in result.table.usable}
    halved = [w for w in rows if isinstance(w, MatMul) and w.pattern]
    assert 2 <= len(halved) <= 0.45 * 60
    assert all(w.with_pattern("") in rows for w in halved)
    assert all(w.k % 64 == 0 and w.n % 32 == 0 for w in halved)
    assert result.table.provenance["plan"]["patterns"] == ["2:4"]
    surrogate = latprof.fit(path)
    assert {"matmul", "matmul.2:4"} <= set(surrogate.labels)
    whole = MatMul(1, 256, 256)
    half_s, whole_s = surrogate.predict([whole.with_pattern("2:4"), whole]).latency_s
    assert half_s < whole_s  # the fake device takes its time by the byte
    assert result.table.pays("2:4", MatMul(1, 128, 128))


def test_shapes_are_whole_multiples_and_stand_beside_their_dense_form() -> None:
    shapes = [MatMul(1, 65, 33), MatMul(1, 100, 60), MatMul(2, 8, 8), Conv2d(4, 4, 8, 8)] * 2
    found = in_pattern(shapes, ("2:4",))
    assert [(w.m, w.k, w.n, w.pattern) for w in found if isinstance(w, MatMul)] == [
        (1, 128, 64, ""), (1, 128, 64, "2:4")
    ]  # fmt: skip
    assert in_pattern(shapes, ()) == []


def test_pattern_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("profile", "fake", "--for", MLP, "-o", str(tmp_path / "t.parquet"), "--shapes", "20")
    found = answer(monkeypatch, capsys, *args, "--pattern", "2:4")
    assert found["shapes"] > 20


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model has none"):
        latprof.profile("fake", "support.tables:net", tmp_path / "t", patterns=("2:4",))
    with pytest.raises(UsageError, match="expected '2:4'"):
        latprof.profile("fake", MLP, tmp_path / "t", patterns=("1:4",))
    with pytest.raises(UsageError, match="local runs onnxruntime in float32"):
        latprof.profile("local", MLP, tmp_path / "t", patterns=("2:4",))
    with pytest.raises(UsageError, match="spread, paper or grid"):
        latprof.profile("fake", MLP, tmp_path / "t", method="adaptive", patterns=("2:4",))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"pattern": "1:4"}, "pattern is '1:4'; expected '2:4'"),
        ({"pattern": "2:4", "weight_bits": 4}, "weight_bits=4"),
        ({"pattern": "2:4", "weights": False}, "weights=False"),
    ],
)
def test_a_product_says_what_its_weights_are(given: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        MatMul(1, 64, 64, **given)  # type: ignore[arg-type]


def test_half_of_the_weights_are_less_than_two_thirds_of_the_bytes() -> None:
    whole = MatMul(1, 64, 64, dtype="float16")
    kept = 64 * 32  # and two bits for the place of each
    assert whole.with_pattern("2:4").weight_bytes == 2 * (kept + 64) + kept // 4
    assert whole.with_pattern("2:4").macs == whole.macs
