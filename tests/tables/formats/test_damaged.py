"""Whatever a file's bytes have become, a reader gives a table or one line; never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.damage import PLAIN_CSV, TELLING, TINYNAS
from support.tables import OPS, TARGET, measured, variants

from latprof.errors import TableError
from latprof.tables import (
    LatencyTable,
    import_plain_csv,
    import_tinynas_trt,
    read_csv,
    read_json,
    write_csv,
    write_json,
)

_TABLE = LatencyTable(
    TARGET,
    tuple(replace(measured(w), slowdown=(1.0, 1.1, 1.2)) for w in OPS[:4]),
    tuple(variants(1)),
    {"written_by": "a test"},
)
#: A mutation: from where, how many bytes are replaced, and by what.
_mutations = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from([0, 1, 1, 2, 8, 64]),
        st.one_of(st.sampled_from([b"", *TELLING]), st.binary(max_size=4)),
    ),
    min_size=1,
    max_size=3,
)


def _mutated(data: bytes, mutations: list[tuple[float, int, bytes]]) -> bytes:
    for place, length, new in mutations:
        start = int(place * len(data))
        data = data[:start] + new + data[start + length :]
    return data


def _is_read_or_refused(
    read: Callable[[Path], LatencyTable], path: Path, data: bytes
) -> LatencyTable | None:
    path.write_bytes(data)
    try:
        return read(path)
    except TableError as exc:
        message = str(exc)
    assert "\n" not in message
    assert path.name in message
    return None


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        "parquet": _TABLE.save(folder / "t.parquet").read_bytes(),
        "csv": write_csv(_TABLE, folder / "t.csv").read_bytes(),
        "json": write_json(_TABLE, folder / "t.json").read_bytes(),
    }


@given(mutations=_mutations)
def test_parquet_reads_as_it_was_written_or_is_refused(
    written: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    mutations: list[tuple[float, int, bytes]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    table = _is_read_or_refused(LatencyTable.load, path, _mutated(written["parquet"], mutations))
    assert table is None or table == _TABLE


@pytest.mark.parametrize(("name", "read"), [("csv", read_csv), ("json", read_json)])
@given(mutations=_mutations)
def test_text_is_read_or_refused(
    written: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    read: Callable[[Path], LatencyTable],
    mutations: list[tuple[float, int, bytes]],
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged.{name}"
    table = _is_read_or_refused(read, path, _mutated(written[name], mutations))
    if table is not None:
        LatencyTable.load(table.save(path))  # what is read can be kept


@pytest.mark.parametrize(
    ("name", "data", "read"),
    [
        ("plain.csv", PLAIN_CSV, import_plain_csv),
        ("conv_fp16.txt", TINYNAS, import_tinynas_trt),
    ],
)
@given(mutations=_mutations)
def test_published_text_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    data: bytes,
    read: Callable[..., LatencyTable],
    mutations: list[tuple[float, int, bytes]],
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    table = _is_read_or_refused(lambda p: read(p, TARGET), path, _mutated(data, mutations))
    if table is not None:
        LatencyTable.load(table.save(path))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "null",
        "[]",
        '{"measurements": [], "models": []}',
        '{"measurements": [[]], "models": []}',
        '{"format": true, "target": {}, "provenance": {}, "measurements": [], "models": []}',
        '{"format": 3, "target": 3, "provenance": {}, "measurements": [], "models": []}',
        '{"format": 3, "target": {"device": 3, "runtime": "r", "runtime_version": "v"}, '
        '"provenance": {}, "measurements": [], "models": []}',
    ],
)
def test_json_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    assert _is_read_or_refused(read_json, tmp_path / "t.json", text.encode()) is None


def test_a_byte_of_the_metadata_changed_is_noticed(tmp_path: Path) -> None:
    """It lies outside the pages, whose checksums Parquet itself holds."""
    path = _TABLE.save(tmp_path / "t.parquet")
    data = path.read_bytes()
    assert data.count(b"test CPU") == 1
    path.write_bytes(data.replace(b"test CPU", b"best CPU"))
    with pytest.raises(TableError, match="checksum"):
        LatencyTable.load(path)
