"""Latency tables by name: of a folder, of the package ``latprof_tables``, or of an address."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latprof.errors import LatprofError, TableError, UsageError
from latprof.tables import LatencyTable
from latprof.vocabulary import cache_dir, replace_file

__all__ = ["ZooTable", "add_table", "get_table", "list_tables", "tables_folder"]

#: An optional distribution of tables alone: Parquet files in this package.
_PACKAGE = "latprof_tables"
_TIMEOUT_S = 60.0
_MAX_BYTES = 512 << 20


@dataclass(frozen=True)
class ZooTable:
    """A table that has a name.

    Args:
        name: of it, without a suffix.
        file: where it is.
        place: ``folder``, ``package``, or the address that it came from.
        sha256: of the file.
        table: what it holds; its provenance has ``license`` and ``source`` where they are known.
    """

    name: str
    file: Path
    place: str
    sha256: str
    table: LatencyTable

    @property
    def license(self) -> str:
        return str(self.table.provenance.get("license", "unknown"))

    @property
    def source(self) -> str:
        """Who measured it, and where it was published."""
        return str(self.table.provenance.get("source", "unknown"))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {
            "name": self.name,
            "file": str(self.file),
            "place": self.place,
            "sha256": self.sha256,
            "license": self.license,
            "source": self.source,
            "rows": len(self.table),
            "target": self.table.target.to_dict(),
        }


def tables_folder() -> Path:
    """``$LATPROF_TABLES``, or ``tables`` beside what latprof keeps of fits."""
    return Path(os.environ.get("LATPROF_TABLES") or cache_dir() / "tables")


def list_tables(folder: str | Path | None = None) -> list[ZooTable]:
    """Every table with a name, sorted; of two of one name the folder's goes first.

    Args:
        folder: by default ``tables_folder()``.

    Raises:
        UsageError: a file among them cannot be read.

    Example:
        >>> from latprof.zoo import list_tables
        >>> [table.name for table in list_tables("no/such/folder")]
        []
    """
    found: dict[str, ZooTable] = {}
    for place, path in _files(folder):
        found.setdefault(path.stem, _read(path.stem, path, place))
    return [found[name] for name in sorted(found)]


def get_table(
    name: str,
    out: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    sha256: str | None = None,
    force: bool = False,
) -> ZooTable:
    """Copy a table to a file; only an address is downloaded, because it was asked for.

    Args:
        name: as ``list_tables`` has it, or an address (http, https).
        out: file to write; by default ``NAME.parquet`` here.
        folder: see list_tables.
        sha256: what the file's checksum must be.
        force: replace a file that is there.

    Raises:
        UsageError: no such name; the download fails, is no table, or has another checksum; ``out``
            is there. Nothing is written then.

    Example:
        >>> from latprof.zoo import get_table
        >>> get_table("pixel6", "pixel6.parquet").license  # doctest: +SKIP
        'Apache-2.0'
    """
    if urllib.parse.urlsplit(name).scheme in ("http", "https"):
        stem = Path(urllib.parse.urlsplit(name).path).stem or "table"
        data, place = _download(name), name
    else:
        known = {path.stem: (place, path) for place, path in reversed([*_files(folder)])}
        if name not in known:
            names = ", ".join(sorted(known)) or "none; latprof zoo add FILE adds one"
            raise UsageError(f"no table is named {name}; there are: {names}")
        stem, (place, path) = name, known[name]
        data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and sha256.lower() != digest:
        raise UsageError(
            f"{name} has the checksum {digest}; expected {sha256}: it is damaged, or another file"
        )
    written = Path(out) if out is not None else Path(f"{stem}.parquet")
    if written.exists() and not force:
        raise UsageError(f"{written} exists; give another -o, or --force to replace it")
    part = written.with_name(f".{written.name}.part")
    try:
        table = LatencyTable.load(replace_file(part, data))  # read before it takes the name
        part.replace(written)
    except LatprofError as exc:
        raise UsageError(f"{name} is no latency table: {exc}") from exc
    finally:
        part.unlink(missing_ok=True)
    return ZooTable(stem, written, place, digest, table)


def add_table(
    file: str | Path,
    *,
    license: str,  # the word of every package index
    source: str,
    name: str | None = None,
    folder: str | Path | None = None,
    force: bool = False,
) -> ZooTable:
    """Put a copy of a table under a name, with its license and source in its provenance.

    Args:
        file: the table.
        license: under which it may be used, such as ``CC-BY-4.0``.
        source: who measured it, and where it was published.
        name: by default the file's, without its suffix.
        folder: see list_tables.
        force: replace a table of this name.

    Raises:
        UsageError: the name is taken, or no name. TableError: the file is no table.

    Example:
        >>> from latprof.zoo import add_table
        >>> add_table("local.parquet", license="CC0", source="measured here")  # doctest: +SKIP
        ZooTable(name='local', ...)
    """
    table, name = LatencyTable.load(file), name or Path(file).stem
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"name is {name!r}; expected one that a file can have, such as pixel6")
    place = Path(folder) if folder is not None else tables_folder()
    written = place / f"{name}.parquet"
    if written.exists() and not force:
        raise UsageError(f"{name} is in {place} already; give another name, or --force")
    provenance = {**table.provenance, "license": license, "source": source}
    place.mkdir(parents=True, exist_ok=True)
    replace(table, provenance=provenance).save(written)
    return _read(name, written, "folder")


def _files(folder: str | Path | None) -> Iterator[tuple[str, Path]]:
    """(place, file) of every table, the folder's first."""
    places = [("folder", Path(folder) if folder is not None else tables_folder())]
    package = importlib.util.find_spec(_PACKAGE)
    roots = package.submodule_search_locations if package is not None else None
    places += [("package", Path(root)) for root in roots or ()]
    for place, root in places:
        yield from ((place, path) for path in sorted(root.glob("*.parquet")))


def _read(name: str, path: Path, place: str) -> ZooTable:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return ZooTable(name, path, place, digest, LatencyTable.load(path))
    except (OSError, TableError) as exc:
        raise UsageError(f"{path}: {exc}; mend it, or take it out of the folder") from exc


def _download(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as answer:
            data: bytes = answer.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        if isinstance(exc, urllib.error.HTTPError):
            exc.close()  # it holds the connection
        raise UsageError(f"{address} cannot be downloaded: {exc}") from exc
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{address} is larger than {_MAX_BYTES >> 20} MiB; expected a table")
    return data
