"""A table in a file is fitted once; what is kept predicts the same, and holds nothing that runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from support.tables import OPS, TARGET, planned, table_of, variants

from latprof.errors import TableError
from latprof.surrogate import METHODS, Surrogate, fit, fit_file
from latprof.surrogate import _cache as cache
from latprof.tables import LatencyTable
from latprof.workloads import Elementwise, MatMul

_ASKED = [*OPS, MatMul(3, 70, 90), Elementwise("gelu", 14, 14, 20)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return planned("grid", 240).with_models(variants(3)).save(tmp_path / "t.parquet")


def _refuse(*_: object, **__: object) -> Surrogate:
    raise AssertionError("fitted again")


def _same(a: Surrogate, b: Surrogate) -> None:
    for one, other in ((a.predict(_ASKED), b.predict(_ASKED)),
                       (a.predict_model(_ASKED), b.predict_model(_ASKED))):  # fmt: skip
        for name in ("latency_s", "lower_s", "upper_s"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)
        assert (one.warnings, one.calibrated) == (other.warnings, other.calibrated)
    assert a.composition == b.composition
    for member in OPS:
        for axis in (0, 1):
            limit = member.channels[axis]
            assert np.array_equal(a.knots(member, axis, limit), b.knots(member, axis, limit))


@pytest.mark.parametrize("method", METHODS)
def test_a_kept_fit_predicts_the_same(
    path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fit_file(path, method=method)
    _same(first, fit(LatencyTable.load(path), method=method))
    monkeypatch.setattr(cache, "fit", _refuse)
    _same(first, fit_file(path, method=method))


def test_another_table_method_or_code_is_another_fit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [cache._place(path, "auto", 0), cache._place(path, "tile", 0)]
    table_of(OPS).save(path)
    places.append(cache._place(path, "auto", 0))
    monkeypatch.setattr(np, "__version__", "0.0")
    places.append(cache._place(path, "auto", 0))
    assert len(set(places)) == 4
    assert None not in places


def test_a_damaged_cache_is_made_anew(path: Path, tmp_path: Path) -> None:
    first = fit_file(path, method="linear")
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    whole = kept.read_bytes()
    rng = np.random.default_rng(0)
    flipped = bytearray(whole)
    flipped[int(rng.integers(len(whole)))] ^= 0xFF
    for data in (b"", whole[:100], whole[: len(whole) // 2], bytes(flipped), b"PK" + whole):
        kept.write_bytes(data)
        _same(first, fit_file(path, method="linear"))
        assert kept.read_bytes() == whole or data == bytes(flipped)


def test_only_parts_of_a_fit_are_built(tmp_path: Path) -> None:
    for tree in ({"type": "Popen", "fields": {"args": ["true"]}}, {"type": "Target", "fields": {}}):
        out = tmp_path / "crafted.npz"
        np.savez(out, tree=np.array(json.dumps(tree)))
        with pytest.raises((KeyError, TypeError)):
            cache._decoded(out.read_bytes())
    np.savez(out, tree=np.array([print], dtype=object))  # pickled
    with pytest.raises(ValueError, match="allow_pickle"):
        cache._decoded(out.read_bytes())


def test_without_a_cache_folder_it_only_takes_longer(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fit_file(path, method="linear").target == TARGET
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", _no_home)
    assert fit_file(path, method="linear").target == TARGET
    with pytest.raises(TableError, match="no such file"):
        fit_file(tmp_path / "none.parquet")


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_the_oldest_fits_go(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_KEPT", 2)
    for seed in range(4):
        fit_file(path, method="linear", seed=seed)
        for kept in (tmp_path / "cache").rglob("*.npz"):
            os.utime(kept, (kept.stat().st_mtime - 10,) * 2)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 2
