"""A model's plan measured on a phone: into a table like any other, equal to the local one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.adbd import Phone

from latprof.devices import Event, ScheduleSettings, open_target, profile
from latprof.devices import open_device as open_spec
from latprof.pipeline.into import profile_into
from latprof.surrogate import fit
from latprof.tables import LatencyTable, read_csv, read_json, write_csv, write_json
from latprof.workloads import Conv2d, Elementwise, MatMul, Pool

pytest_plugins = ["support.adb"]

Open = Callable[..., Any]

SETTINGS = ScheduleSettings(round_s=0.02, min_rounds=3, max_rounds=4, noisy=1.0)


@pytest.fixture
def backend() -> str:
    return "direct"


def _check_exchange(table: LatencyTable, folder: Path) -> None:
    """Saved, exported and read again, it is the same table."""
    table.save(folder / "again.parquet")
    write_csv(table, folder / "again.csv")
    write_json(table, folder / "again.json")
    for again in (
        LatencyTable.load(folder / "again.parquet"),
        read_csv(folder / "again.csv"),
        read_json(folder / "again.json"),
    ):
        assert again.target == table.target
        assert again.measurements == table.measurements


def test_a_small_plan(phone: Phone, open_device: Open, tmp_path: Path) -> None:
    workloads = [
        Conv2d(14, 14, 64, 96),
        Conv2d(14, 14, 96, 96, kernel=3, groups=96),
        Elementwise("hard_swish", 14, 14, 96),
        Pool("global_avg", 14, 14, 96),
        MatMul(1, 96, 32),
    ]
    path = tmp_path / "phone.parquet"
    quick = ScheduleSettings(round_s=0.02, min_rounds=1, max_rounds=1, noisy=9, max_slowdown=50)
    device = open_device(phone)
    table = profile_into(path, device, workloads, n_shapes=12, settings=quick)
    assert len(table.usable) == len(table) >= 12
    environment = table.provenance["environment"]
    assert environment["pushes"] <= 3
    assert environment["device_s"] > 0
    _check_exchange(table, tmp_path)
    predicted = fit(table, method="linear").predict_model(workloads)
    assert float(np.sum(predicted.latency_s)) > 0
    with open_target(
        f"adb:{phone.serial}", table.target, backend="direct",
        benchmark_model=environment["benchmark_model"]["source"],
        key=str(device._connect.keywords["key"]),
    ) as again:  # fmt: skip
        assert again.target == table.target


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["direct", "server"])
def test_two_hundred_shapes_through_faults_equal_the_local_table(
    phone: Phone,
    open_device: Open,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    kind: str,
) -> None:
    if kind == "server":
        request.getfixturevalue("adb")
    from latprof.models._models import model_workloads  # torch takes its time

    workloads = model_workloads("zoo:mobilenet_v3_large")
    device = open_device(phone, backend=kind)
    faults = {100: "unplug_run", 300: "truncate_push", 400: "reboot_run", 600: "unplug_run"}
    readings = 0

    def trouble(event: Event) -> None:
        nonlocal readings
        readings += event.kind == "reading"
        if fault := faults.pop(readings, ""):
            phone.faults.add(fault)
            if "push" in fault:
                phone.unplug()  # what was pushed has to be pushed again

    table = profile_into(
        tmp_path / "phone.parquet",
        device,
        workloads,
        n_shapes=200,
        settings=SETTINGS,
        on_event=trouble,
    )
    assert not faults
    assert len(table) >= 200
    assert len(table.usable) >= 0.95 * len(table)
    assert table.provenance["environment"]["times_lost"] >= 4
    _check_exchange(table, tmp_path)
    assert _local_ratio(table) == pytest.approx(1.0, abs=0.15)


def _local_ratio(table: LatencyTable) -> float:
    """Median over shapes of phone latency over local latency, same interpreter."""
    some = [m.workload for m in table.usable][::4]
    here = {m.workload: m.latency_s for m in table.usable}
    with open_spec("local", runtime="tflite") as local:
        rows = list(profile(local, some, settings=SETTINGS))
    return float(np.median([here[r.workload] / r.latency_s for r in rows if r.usable]))
