"""A run held to a budget of memory: measured on the device, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.run import fake_run

from latprof.devices import Device, FakeDevice, Usage
from latprof.errors import UsageError
from latprof.report import write_report


def twice_the_file(device: FakeDevice, path: Path, *, measure_s: float) -> Usage:
    missing = {"arena": "no arena", "energy": "no counter"}
    return Usage(2.0 * path.stat().st_size, missing=missing)


@pytest.mark.slow
def test_a_budget_of_memory_is_met_by_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeDevice, "usage", twice_the_file)
    _, result = fake_run(tmp_path / "run", budget="memory=70%")
    (outcome,) = result.budgets
    assert outcome.kind == "memory"
    assert outcome.reached == result.compressed.memory_bytes
    assert outcome.reached == 2 * Path(result.compressed.file).stat().st_size
    assert result.met
    assert outcome.limit == pytest.approx(0.7 * (result.original.memory_bytes or 0), rel=1e-3)
    tried = json.loads((tmp_path / "run/memory.json").read_text())["data"]
    assert len(tried) >= 2  # the original, and what the masks left
    assert result.missing == {"energy": "no counter"}
    page = write_report(tmp_path / "run").read_text()
    assert "not available" in page


def test_a_device_that_does_not_tell_is_refused_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeDevice, "usage", Device.usage)
    with pytest.raises(UsageError, match="needs a device that tells what a model takes"):
        fake_run(tmp_path / "run", budget="memory=70%")
