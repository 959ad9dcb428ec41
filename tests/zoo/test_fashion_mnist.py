"""Finding, checking and reading the demo's data."""

from __future__ import annotations

import functools
import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from latprof.errors import UsageError
from latprof.zoo import _fashion_mnist


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Four small files served over HTTP, and an empty cache to download them to."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name in _fashion_mnist._FILES:
        shape = (5, 28, 28) if "images" in name else (5,)
        body = np.arange(np.prod(shape), dtype=np.uint8)
        head = struct.pack(f">I{len(shape)}I", 0x800 + len(shape), *shape)
        (folder / name).write_bytes(gzip.compress(head + body.tobytes()))
    sums = {n: hashlib.md5((folder / n).read_bytes()).hexdigest() for n in _fashion_mnist._FILES}
    handler = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(_fashion_mnist, "_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(_fashion_mnist, "_FILES", sums)
        monkeypatch.setattr(_fashion_mnist, "_SYSTEM", tmp_path / "none")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield folder
        server.shutdown()


def test_downloads_once_and_reads(served: Path) -> None:
    folder = _fashion_mnist.find(None)
    images, labels = _fashion_mnist.load(folder, "train")
    assert images.shape == (5, 1, 28, 28)
    assert labels.tolist() == [0, 1, 2, 3, 4]
    for path in served.iterdir():
        path.unlink()
    assert _fashion_mnist.find(None) == folder  # nothing is fetched again


def test_wrong_checksum_is_refused_and_names_the_three_ways(served: Path) -> None:
    next(iter(served.glob("train-*"))).write_bytes(b"not it")
    with pytest.raises(UsageError, match=r"checksum is .* apt install .* --data DIR") as caught:
        _fashion_mnist.find(None)
    assert "\n" not in str(caught.value)
    assert not list((served.parent / "cache").rglob("*.part"))


def test_given_folder_must_hold_the_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lacks train-images-idx3-ubyte\.gz"):
        _fashion_mnist.find(tmp_path)


def test_truncated_file_is_one_line(served: Path) -> None:
    name = "t10k-images-idx3-ubyte.gz"
    (served / name).write_bytes((served / name).read_bytes()[:40])
    with pytest.raises(UsageError, match="is not a gzipped IDX file"):
        _fashion_mnist.load(served, "test")
