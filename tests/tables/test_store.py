"""A table survives every format, and a broken file is one clear error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import OPS, TARGET, measured, planned, table_of, variants

from latprof.errors import TableError, TargetMismatchError
from latprof.tables import (
    LatencyTable,
    ModelMeasurement,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_npz,
)
from latprof.tables._data import TableData
from latprof.tables._rows import FORMAT_VERSION
from latprof.vocabulary._measurement import Measurement
from latprof.workloads import Attention, Conv2d, Elementwise, MatMul, Pool, Workload

GOLDEN = Path(__file__).parents[1] / "golden"
ATTENTION = Attention(8, 16, 64, 32, heads_per_kv=2, window=48, batch=2)
OTHER = TableData(replace(TARGET, device="another CPU"), table_of(OPS[:3]).measurements)

_sizes = st.integers(1, 4096)
_samples = st.lists(
    st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=4).map(tuple), min_size=1, max_size=3
).map(tuple)
_workloads: st.SearchStrategy[Workload] = st.one_of(
    st.builds(
        Conv2d, h=_sizes, w=_sizes, c_in=_sizes, c_out=_sizes, kernel=st.sampled_from((1, 3))
    ),
    st.builds(MatMul, m=_sizes, k=_sizes, n=_sizes, weights=st.booleans()),
    st.builds(MatMul, m=_sizes, k=_sizes, n=_sizes, weight_bits=st.sampled_from((2, 4, 8))),
    st.builds(MatMul, m=_sizes, k=_sizes, n=_sizes, pattern=st.just("2:4")),
    st.builds(Attention, heads=_sizes, queries=_sizes, keys=_sizes, head_dim=_sizes),
    st.builds(Elementwise, op=st.sampled_from(("add", "relu")), h=_sizes, w=_sizes, c=_sizes),
    st.builds(Pool, op=st.just("avg"), h=_sizes, w=_sizes, c=_sizes, kernel=st.just(2)),
)
_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)
_timed = st.builds(
    Measurement,
    workload=_workloads,
    samples_s=_samples,
    status=st.sampled_from(("ok", "noisy", "throttled")),
    detail=_text,
)
_measurements = st.one_of(
    _timed,
    st.builds(
        lambda m, slower: replace(m, slowdown=(slower,) * len(m.samples_s)),
        _timed,
        st.floats(0.5, 2.0),
    ),
    st.builds(
        Measurement,
        workload=_workloads,
        samples_s=st.just(()),
        status=st.just("failed"),
        detail=_text,
    ),
)
_models = st.builds(
    ModelMeasurement, name=_text, workloads=st.lists(_workloads).map(tuple), samples_s=_samples
)
_tables = st.builds(
    LatencyTable,
    st.just(TARGET),
    st.lists(_measurements, max_size=4).map(tuple),
    st.lists(_models, max_size=2).map(tuple),
    st.dictionaries(_text, st.one_of(_text, st.integers(), st.booleans()), max_size=3),
)


@given(_tables)
def test_every_format_reads_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, table: LatencyTable
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    assert LatencyTable.load(table.save(folder / "t.parquet")) == table
    assert read_csv(write_csv(table, folder / "t.csv")) == table
    assert read_json(write_json(table, folder / "t.json")) == table


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("table_v*.parquet")), ids=lambda p: p.name)
def test_every_version_ever_written_is_read(path: Path) -> None:
    loaded = LatencyTable.load(path)
    slowdown = (1.0, 0.99, 1.02) if path.stem != "table_v1" else ()
    more: dict[str, Workload] = {
        "table_v4": MatMul(1, 160, 320, weight_bits=4),
        "table_v6": ATTENTION,
        "table_v7": MatMul(1, 64, 32, pattern="2:4"),
    }
    shapes = [*OPS, *([more[path.stem]] if path.stem in more else [])]
    rows = tuple(replace(m, slowdown=slowdown) for m in table_of(shapes).measurements)
    donors = (OTHER,) if path.stem == "table_v5" else ()
    wanted = LatencyTable(TARGET, rows, tuple(variants(2)), donors=donors)
    assert replace(loaded, provenance={}) == wanted
    assert loaded.provenance == {"written_by": path.stem}


def test_tables_of_the_second_version_are_read_as_csv_and_json_too(tmp_path: Path) -> None:
    """There slowdown was called pace, and throttled disturbed."""
    rows = [replace(measured(w), slowdown=(1.0, 1.1, 1.2)) for w in OPS]
    rows[0] = replace(rows[0], status="throttled", detail="hot")
    table = LatencyTable(TARGET, tuple(rows))
    old = (("slowdown", "pace"), ("throttled", "disturbed"), ('"format": 3', '"format": 2'))
    for write, read in ((write_csv, read_csv), (write_json, read_json)):
        path = write(table, tmp_path / "t")
        text = path.read_text()
        for new, former in old:
            assert new in text
            text = text.replace(new, former)
        path.write_text(text)
        assert read(path) == table


def test_there_is_a_golden_file_of_the_present_version() -> None:
    assert (GOLDEN / f"table_v{FORMAT_VERSION}.parquet").exists()


def test_a_table_without_newer_rows_is_what_older_versions_read(tmp_path: Path) -> None:
    assert '"format": 3' in write_json(table_of(OPS), tmp_path / "t.json").read_text()
    few = table_of([MatMul(1, 64, 8, weight_bits=4)])
    assert '"format": 4' in write_json(few, tmp_path / "t.json").read_text()
    assert '"format": 5' in write_json(few.with_donors([OTHER]), tmp_path / "t.json").read_text()
    fused = table_of([ATTENTION]).with_donors([OTHER])
    assert '"format": 6' in write_json(fused, tmp_path / "t.json").read_text()
    halved = table_of([ATTENTION, MatMul(1, 64, 32, pattern="2:4")])
    assert '"format": 7' in write_json(halved, tmp_path / "t.json").read_text()
    inside = replace(variants(1)[0], workloads=(MatMul(1, 64, 8, weight_bits=8),))
    whole = replace(table_of(OPS), models=(inside,))
    assert '"format": 4' in write_json(whole, tmp_path / "t.json").read_text()


def test_truncated_and_corrupt_files_are_one_line(tmp_path: Path) -> None:
    whole = planned().save(tmp_path / "whole.parquet").read_bytes()
    table = LatencyTable.load(tmp_path / "whole.parquet")
    broken = tmp_path / "broken.parquet"
    cuts = [whole[:n] for n in (0, 3, len(whole) // 2, len(whole) - 1)]
    flips = [
        whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :] for i in range(0, len(whole), 301)
    ]
    for data in cuts + flips:
        broken.write_bytes(data)
        message = _refusal(broken, table)
        assert str(broken) in message or not message
        assert "\n" not in message
    with pytest.raises(TableError, match="no such file"):
        LatencyTable.load(tmp_path / "none.parquet")


def _refusal(path: Path, table: LatencyTable) -> str:
    """The error of reading ``path``; none where it reads as ``table``: that byte meant nothing."""
    try:
        assert LatencyTable.load(path) == table
    except TableError as exc:
        return str(exc)
    return ""


def test_foreign_and_future_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    with pytest.raises(TableError, match="not a latency table"):
        LatencyTable.load(foreign)
    future = write_json(table_of(OPS), tmp_path / "future.json")
    future.write_text(future.read_text().replace('"format": 3', '"format": 99'))
    with pytest.raises(TableError, match="format is 99"):
        read_json(future)
    (tmp_path / "plain.csv").write_text("kind,h\nconv2d,1\n")
    with pytest.raises(TableError, match="latprof table import --format csv"):
        read_csv(tmp_path / "plain.csv")
    bad = write_csv(table_of(OPS[:1]), tmp_path / "bad.csv")
    bad.write_text(bad.read_text().replace("conv2d", "conv9d"))
    with pytest.raises(TableError, match="row 1"):
        read_csv(bad)


def test_a_save_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table_of(OPS).save(tmp_path / "t.parquet")
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        planned().save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_npz_holds_every_row_on_its_grid(tmp_path: Path) -> None:
    table = planned("grid")
    with np.load(write_npz(table, tmp_path / "t.npz"), allow_pickle=False) as arrays:
        assert json.loads(str(arrays["header"]))["target"] == TARGET.to_dict()
        families = arrays["families"].tolist()
        filled = 0
        for i in range(len(families)):
            grid = arrays[f"latency_s_{i}"]
            assert grid.shape == (len(arrays[f"c_in_{i}"]), len(arrays[f"c_out_{i}"]))
            filled += int(np.isfinite(grid).sum())
        assert filled == len(table)
        first = table.measurements[0]
        i = families.index(first.workload.family)
        row = arrays[f"c_in_{i}"].tolist().index(first.workload.channels[0])
        column = arrays[f"c_out_{i}"].tolist().index(first.workload.channels[1])
        assert arrays[f"latency_s_{i}"][row, column] == first.latency_s


def test_rows_are_replaced_but_never_by_worse_ones() -> None:
    good = measured(OPS[0])
    failed = Measurement(workload=OPS[0], samples_s=(), status="failed", detail="no")
    slower = replace(good, samples_s=((1.0,),))
    table = LatencyTable(TARGET).with_measurements([failed, good])
    assert table.measurements == (good,)
    assert table.with_measurements([failed]).measurements == (good,)
    assert table.with_measurements([slower]).measurements == (slower,)
    assert table.without([OPS[0]]).measurements == ()


def test_merge_keeps_the_newest_and_refuses_other_targets() -> None:
    old = replace(measured(OPS[0]), measured_at="2024-01-01T00:00:00+00:00")
    new = replace(old, measured_at="2024-02-01T00:00:00+00:00", samples_s=((1.0,),))
    a = LatencyTable(TARGET, (new,), provenance={"a": 1})
    b = LatencyTable(TARGET, (old, measured(OPS[1])), tuple(variants(1)), {"a": 2, "b": 3})
    merged = a.merge(b)
    assert {m.workload: m for m in merged.measurements} == {OPS[0]: new, OPS[1]: measured(OPS[1])}
    assert merged.models == b.models
    assert merged.provenance == {"a": 1, "b": 3}
    with pytest.raises(TargetMismatchError, match="threads 4"):
        a.merge(replace(b, target=replace(TARGET, threads=4)))


def test_the_frame_has_a_line_per_row() -> None:
    table = table_of(OPS).with_measurements(
        [Measurement(workload=Conv2d(1, 1, 1, 1), samples_s=(), status="failed")]
    )
    frame = table.to_frame()
    assert len(frame) == len(table)
    assert frame["latency_s"].notna().sum() == len(OPS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"donors": [', '"donors": 5, "_": [', "not a latency table in JSON"),
        ('"device": "another CPU"', '"device": 7', "header is not a latency table's"),
    ],
)
def test_donors_that_are_none_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_json(table_of(OPS[:2]).with_donors([OTHER]), tmp_path / "t.json")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(TableError, match=message):
        read_json(path)


def test_a_row_of_no_donor_is_refused(tmp_path: Path) -> None:
    path = write_csv(table_of(OPS[:2]).with_donors([OTHER]), tmp_path / "t.csv")
    path.write_text(path.read_text().replace("donor,0,", "donor,1,", 1))
    with pytest.raises(TableError, match="is no measurement"):
        read_csv(path)
    path.write_text(path.read_text().replace("donor,1,", "donor,-1,", 1))
    with pytest.raises(TableError, match="expected a number from 0 on"):
        read_csv(path)
