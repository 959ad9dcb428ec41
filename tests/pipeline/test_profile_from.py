"""A profile that leans on another target's table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.cli import answer, run

import latprof
from latprof.errors import TargetMismatchError, UsageError
from latprof.tables import LatencyTable

NET = "support.tables:net"


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("donor") / "two.parquet"
    latprof.profile("fake", NET, path, shapes=80, stair=8)
    return path


def test_ten_shapes_and_a_table_of_another_target(donor: Path, tmp_path: Path) -> None:
    (result,) = latprof.profile("fake", NET, tmp_path / "one.parquet", donors=[donor])
    assert len(result.table) == 10
    assert result.table.provenance["plan"]["method"] == "chosen"
    assert [dict(d.target.settings)["stair"] for d in result.table.donors] == ["8"]
    (whole,) = latprof.profile("fake", NET, tmp_path / "whole.parquet", shapes=80, seed=1)
    rows = whole.table.usable
    predicted_s = latprof.fit(result.path).predict([m.workload for m in rows]).latency_s
    assert np.abs(predicted_s / [m.latency_s for m in rows] - 1).mean() < 0.08
    (again,) = latprof.profile("fake", NET, result.path, donors=[donor])
    assert again.table.measurements == result.table.measurements  # the same shapes
    (more,) = latprof.profile("fake", NET, result.path, shapes=30)
    assert len(more.table) > 30
    assert more.table.donors == result.table.donors


def test_several_devices_share_the_chosen_shapes(donor: Path, tmp_path: Path) -> None:
    (result,) = latprof.profile(["fake", "fake"], NET, tmp_path / "t.parquet", donors=[donor])
    assert len(result.table) == 10
    assert len(result.table.donors) == 1


def test_from_of_the_command_line(
    donor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "t.parquet")
    args = ("profile", "fake", "--for", NET, "-o", out, "--from", str(donor))
    assert answer(monkeypatch, capsys, *args)["shapes"] == 10
    assert run(monkeypatch, "fit", out) == 0
    assert "from stair=8" in capsys.readouterr().out
    assert run(monkeypatch, *args, "--method", "grid") == 2
    assert "leave the method out" in capsys.readouterr().err
    assert LatencyTable.load(out).donors


def test_what_is_refused(donor: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetMismatchError, match="latprof table merge"):
        latprof.profile("fake", NET, tmp_path / "t", stair=8, donors=[donor])
    with pytest.raises(UsageError, match="leave the method out"):
        latprof.profile("fake", NET, tmp_path / "t", donors=[donor], method="adaptive")
    assert not (tmp_path / "t").exists()
