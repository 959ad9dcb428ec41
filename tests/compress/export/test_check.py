"""The check beside an exported file: what was written comes back, and damage is reported."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from support.damage import damaged, read_or_refused

from latprof.compress.export import Check, check_path, load_check, save_check
from latprof.errors import UsageError

GOLDEN = Path(__file__).parents[2] / "golden" / "net.onnx"  # its check is of the first version
CHECK = Check(
    {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([[True, False]])},
    [
        np.array([1.5, -np.inf, 2]),
        np.zeros((0, 2), np.float16),
        *[np.full(1, i) for i in range(10)],
    ],
)


def same(one: Check, other: Check) -> bool:
    arrays = [*one.inputs.values(), *one.outputs], [*other.inputs.values(), *other.outputs]
    return list(one.inputs) == list(other.inputs) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(*arrays, strict=True)
    )


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    save_check(tmp_path / "net.onnx", CHECK)
    assert same(load_check(tmp_path / "net.onnx"), CHECK)
    assert [p.name for p in tmp_path.iterdir()] == ["net.check.npz"]  # replaced whole


def test_the_first_version_has_no_checksum() -> None:
    assert load_check(GOLDEN).outputs


def saved(**arrays: np.ndarray) -> bytes:
    whole = io.BytesIO()
    np.savez(whole, **arrays)
    return whole.getvalue()


ARRAYS = {"input.x": np.ones(3), "output.0": np.ones(2)}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no check can be read"),
        (b"no zip file", "File is not a zip file"),
        (saved(**{"input.x": np.ones(3)}), "it holds input.x; expected inputs and outputs"),
        (saved(**ARRAYS, other=np.ones(2)), "it holds .*other; expected inputs and outputs"),
        (saved(**ARRAYS, **{"output.2": np.ones(2)}), "expected inputs and outputs"),
        (saved(**{**ARRAYS, "input.x": np.array([{}])}), "Object arrays cannot be loaded"),
        (saved(**ARRAYS, latprof_check=np.array('{"version": 9}')), "its version is 9"),
        (
            saved(**ARRAYS, latprof_check=np.array('{"version": 2, "sha256": "0"}')),
            "its contents are not those that were written",
        ),
    ],
)
def test_what_is_no_check(data: bytes, says: str, tmp_path: Path) -> None:
    check_path(tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(UsageError, match=says) as told:
        load_check(tmp_path / "net.onnx")
    assert str(told.value).endswith("export the model again")


def test_a_missing_check(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_check(tmp_path / "net.onnx")


def whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_check(Path(folder, "net.onnx"), CHECK)
        return Path(folder, "net.check.npz").read_bytes()


@settings(max_examples=400, deadline=5000)
@given(data=damaged(whole()))
def test_damage_is_told_or_harmless(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "net.check.npz").write_bytes(data)
        found = read_or_refused(lambda: load_check(Path(folder, "net.onnx")))
        assert found is None or same(found, CHECK)
