"""Checks find what is wrong, and diffs what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.tables import OPS, TARGET, measured, planned, table_of

from latprof.errors import TableError
from latprof.tables import LatencyTable, check, diff, plot_diff
from latprof.vocabulary._measurement import Measurement
from latprof.workloads import Conv2d


def _kinds(table: LatencyTable) -> dict[str, str]:
    return {f.kind: f.severity for f in check(table)}


def test_a_sound_table_has_no_error() -> None:
    assert "error" not in _kinds(planned()).values()


@pytest.mark.parametrize(
    ("rows", "kind", "severity"),
    [
        ([measured(OPS[0]), measured(OPS[0])], "duplicate", "error"),
        ([replace(measured(OPS[0]), samples_s=((1e-9,),))], "impossible", "error"),
        ([measured(Conv2d(7, 7, 8, 8)),
          replace(measured(Conv2d(7, 7, 64, 64)), samples_s=((5e-7,),))], "suspect", "warning"),
        ([Measurement(workload=OPS[0], samples_s=(), status="failed", detail="refused")],
         "status", "warning"),
        ([replace(measured(OPS[0]), samples_s=((1e-5,), (2e-5,)))], "noise", "warning"),
        ([measured(Conv2d(7, 7, 8, c)) for c in (8, 9, 10, 100)], "gap", "note"),
    ],
)  # fmt: skip
def test_each_fault_is_found(rows: list[Measurement], kind: str, severity: str) -> None:
    findings = check(LatencyTable(TARGET, tuple(rows)))
    assert (kind, severity) in {(f.kind, f.severity) for f in findings}
    assert all("\n" not in f.message for f in findings)


def test_another_target_is_an_error() -> None:
    findings = check(table_of(OPS), target=replace(TARGET, threads=4))
    assert findings[0].kind == "target"
    assert check(table_of(OPS), target=TARGET) == check(table_of(OPS))


def test_a_diff_is_of_the_same_shapes(tmp_path: Path) -> None:
    a, b = table_of(OPS), table_of(OPS[2:], step=32)
    twice = tuple(
        replace(m, samples_s=tuple(tuple(2 * s for s in r) for r in m.samples_s))
        for m in b.measurements
    )
    compared = diff(a, replace(b, measurements=twice, target=replace(TARGET, threads=2)))
    assert compared.workloads == tuple(OPS[2:])
    assert (compared.only_a, compared.only_b) == (2, 0)
    assert compared.settings == {"threads": (1, 2)}
    assert np.all(compared.ratios >= 1.9)
    picture = plot_diff(compared, ("a", "b"), tmp_path / "diff.png")
    assert picture.stat().st_size > 10_000
    with pytest.raises(TableError, match="no shape is in both"):
        diff(table_of(OPS[:1]), table_of(OPS[1:]))
