"""Tables by name: what is added comes back bit for bit, and nothing half is written."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tables import OPS, table_of

from latprof.errors import UsageError
from latprof.tables import plan
from latprof.zoo import add_table, get_table, list_tables, tables_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LATPROF_TABLES", str(tmp_path / "tables"))
    table_of(plan(OPS, n_shapes=20)).save(tmp_path / "mine.parquet")
    return tmp_path


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    """The folder, by HTTP."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_table_that_was_added_is_listed_and_comes_back(folder: Path) -> None:
    assert list_tables() == []
    added = add_table(
        folder / "mine.parquet", license="CC0-1.0", source="measured here", name="board"
    )
    assert tables_folder() == folder / "tables"
    assert [(t.name, t.license, t.source, t.place) for t in list_tables()] == [
        ("board", "CC0-1.0", "measured here", "folder")
    ]
    got = get_table("board", folder / "got.parquet", sha256=added.sha256)
    assert got.table == added.table
    assert (folder / "got.parquet").read_bytes() == added.file.read_bytes()
    assert got.table.measurements == list_tables()[0].table.measurements


def test_the_folder_goes_before_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "site/latprof_tables"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in ("board", "phone"):
        add_table(folder / "mine.parquet", license="A", source="B", name=name, folder=package)
    add_table(folder / "mine.parquet", license="C", source="D", name="board")
    monkeypatch.syspath_prepend(folder / "site")
    found = {t.name: (t.place, t.license) for t in list_tables()}
    assert found == {"board": ("folder", "C"), "phone": ("package", "A")}
    assert get_table("board", folder / "got.parquet").license == "C"


def test_an_address_is_downloaded_once_it_is_asked_for(folder: Path, served: str) -> None:
    digest = hashlib.sha256((folder / "mine.parquet").read_bytes()).hexdigest()
    got = get_table(f"{served}/mine.parquet", folder / "got.parquet", sha256=digest.upper())
    assert got.place == f"{served}/mine.parquet"
    assert got.license == "unknown"
    assert len(got.table) == 20


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nothing", "no table is named nothing; there are: none"),
        ("{served}/nothing.parquet", "cannot be downloaded: HTTP Error 404"),
        ("{served}/text.parquet", "is no latency table"),
        ("http://127.0.0.1:1/x.parquet", "cannot be downloaded"),
    ],
)
def test_what_cannot_be_had_is_one_line(folder: Path, served: str, what: str, says: str) -> None:
    (folder / "text.parquet").write_text("no table")
    with pytest.raises(UsageError, match=says) as raised:
        get_table(what.format(served=served), folder / "got.parquet")
    assert "\n" not in str(raised.value)
    assert not list(folder.glob("*got*"))


def test_what_is_there_is_kept(folder: Path) -> None:
    add_table(folder / "mine.parquet", license="A", source="B")
    with pytest.raises(UsageError, match=r"mine is in .* already; give another name, or --force"):
        add_table(folder / "mine.parquet", license="A", source="B")
    before = (folder / "mine.parquet").read_bytes()
    with pytest.raises(UsageError, match=r"mine\.parquet exists; give another -o, or --force"):
        get_table("mine", folder / "mine.parquet")
    with pytest.raises(UsageError, match="has the checksum"):
        get_table("mine", folder / "mine.parquet", sha256="0" * 64, force=True)
    with pytest.raises(UsageError, match="expected one that a file can have"):
        add_table(folder / "mine.parquet", license="A", source="B", name="../other")
    assert (folder / "mine.parquet").read_bytes() == before
