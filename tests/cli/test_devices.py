"""``latprof devices``, and ``latprof profile`` on several devices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from latprof._cli import cli
from latprof.devices import FakeDevice, ScheduleSettings
from latprof.errors import DeviceLostError, UsageError
from latprof.pipeline.into import profile_many_into
from latprof.tables import LatencyTable
from latprof.workloads import Conv2d, MatMul

QUICK = ScheduleSettings(pause_s=1e-9, min_rounds=3, max_rounds=4)
NETWORK = [Conv2d(14, 14, 64, 128), MatMul(1, 128, 10)]


def test_devices_lists_this_machine() -> None:
    out = CliRunner().invoke(cli, ["devices", "--json"], catch_exceptions=False)
    local = json.loads(out.stdout)["devices"][0]
    assert (local["name"], local["missing"]) == ("local", {})
    wide = CliRunner(env={"COLUMNS": "200"})
    shown = wide.invoke(cli, ["devices"], catch_exceptions=False).output
    assert local["description"] in shown


def test_devices_of_one_target_fill_one_table(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    devices = [("local", FakeDevice()), ("ssh:box", FakeDevice())]
    tables = profile_many_into(out, devices, NETWORK, n_shapes=80, settings=QUICK)
    assert list(tables) == [out]
    assert LatencyTable.load(out) == tables[out]
    again = profile_many_into(out, devices, NETWORK, n_shapes=80, settings=QUICK)
    assert again[out].measurements == tables[out].measurements
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_each_target_gets_its_own_table(tmp_path: Path) -> None:
    devices = [("local", FakeDevice(seed=1)), ("ssh:box", FakeDevice(seed=2))]
    tables = profile_many_into(
        tmp_path / "t.parquet", devices, NETWORK, n_shapes=40, settings=QUICK
    )
    assert {p.name for p in tables} == {"t-local.parquet", "t-ssh-box.parquet"}
    for (_, device), table in zip(devices, tables.values(), strict=True):
        assert table.target == device.target
        assert all(m.latency_s == pytest.approx(device.law_s(m.workload)) for m in table.usable)


def test_a_run_that_lost_its_devices_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    dying = [("local", FakeDevice(faults=dict.fromkeys(range(120, 999), "die")))] * 2
    with pytest.raises(DeviceLostError):
        profile_many_into(out, dying[:1], NETWORK, n_shapes=60, settings=QUICK)
    fresh = FakeDevice()
    tables = profile_many_into(out, [("local", fresh)], NETWORK, n_shapes=60, settings=QUICK)
    assert len(tables[out]) >= 50
    assert fresh.readings < 3 * 60 + 60 - 100


def test_adaptive_asks_one_device(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes one device"):
        profile_many_into(
            tmp_path / "t", [("a", FakeDevice())], NETWORK, n_shapes=9, method="adaptive"
        )


def test_the_command_takes_several_devices(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    arguments = ["profile", "fake", "fake", "--for", "zoo:mobilenet_v3_small", "-o", str(out)]
    done = CliRunner().invoke(cli, [*arguments, "--budget-shapes", "150", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["tables"]
    assert [t["table"] for t in found] == [str(out)]
    assert found[0]["shapes"] == len(LatencyTable.load(out))


def test_batch_is_an_axis_of_the_table(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    arguments = ["profile", "fake", "--for", "zoo:mobilenet_v3_small", "-o", str(out)]
    done = CliRunner().invoke(cli, [*arguments, "--batch", "1,4", "--budget-shapes", "260"])
    assert done.exit_code == 0, done.output
    rows = LatencyTable.load(out).to_frame()
    assert set(rows["batch"]) >= {1, 4}
    assert set(rows["status"]) == {"ok"}
    np.testing.assert_allclose(rows["throughput_per_s"] * rows["latency_s"], rows["batch"])
    told = {}
    for batch in ("1", "4"):
        command = ["predict", "zoo:mobilenet_v3_small", "--table", str(out), "--batch", batch]
        shown = CliRunner().invoke(cli, [*command, "--json"])
        told[batch] = json.loads(shown.stdout)
    assert told["4"]["latency_s"] > told["1"]["latency_s"]
    assert told["4"]["throughput_per_s"] == pytest.approx(4 / told["4"]["latency_s"])


@pytest.mark.parametrize("batch", ["0", "1,x", "-3"])
def test_a_batch_is_a_whole_number(tmp_path: Path, batch: str) -> None:
    arguments = ["profile", "fake", "--for", "zoo:mobilenet_v3_small", "-o", str(tmp_path / "t")]
    failed = CliRunner().invoke(cli, [*arguments, "--batch", batch])
    assert failed.exit_code != 0
    assert "whole number" in failed.output or "whole number" in str(failed.exception)
