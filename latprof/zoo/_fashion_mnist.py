"""FashionMNIST (Xiao et al., 2017, arXiv:1708.07747), found, given, or downloaded once."""

from __future__ import annotations

import gzip
import hashlib
import struct
import urllib.request
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latprof.compress import TensorBatches
from latprof.errors import UsageError
from latprof.vocabulary import cache_dir

__all__ = ["fashion_mnist", "find", "load"]

_SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
# MD5 as published beside the files in the data set's README.
_FILES = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def fashion_mnist(
    folder: Path | None = None, *, images: int = 60_000, batch: int = 128
) -> tuple[TensorBatches, tuple[Tensor, Tensor]]:
    """Training batches of the first ``images``, and the 10,000 test images with their labels.

    Args:
        folder: with the four files; else Debian's, else the cache, downloaded once.
    """
    source = find(folder)
    pixels, labels = (torch.from_numpy(a) for a in load(source, "train"))
    test_pixels, test_labels = (torch.from_numpy(a) for a in load(source, "test"))
    return TensorBatches(pixels[:images], labels[:images], batch), (test_pixels, test_labels)


def find(given: Path | None) -> Path:
    """The folder with the four files: ``given``, Debian's, or the cache, downloaded if need be.

    Raises:
        UsageError: none of the three works; the message names all three.
    """
    if given is not None:
        missing = [name for name in _FILES if not (given / name).is_file()]
        if missing:
            raise UsageError(
                f"--data {given} lacks {', '.join(missing)}; expected {len(_FILES)} files"
            )
        return given
    if all((_SYSTEM / name).is_file() for name in _FILES):
        return _SYSTEM
    folder = cache_dir() / "fashion-mnist"
    try:
        for name, md5 in _FILES.items():
            _download(name, md5, folder)
    except OSError as exc:
        raise UsageError(
            f"FashionMNIST not found and its download failed ({exc}); either "
            "apt install dataset-fashion-mnist, or give a folder with its four .gz files as "
            f"--data DIR, or allow a connection to {_URL}"
        ) from exc
    return folder


def _download(name: str, md5: str, folder: Path) -> None:
    path = folder / name
    if path.is_file():
        return
    with urllib.request.urlopen(f"{_URL}/{name}", timeout=30) as reply:
        body: bytes = reply.read()
    got = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if got != md5:
        raise OSError(f"{name}: checksum is {got}, expected {md5}")
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(body)
    part.replace(path)


def load(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, 28, 28) float32, zero mean and unit variance, and labels (N,) int64.

    Args:
        split: ``train`` (60,000) or ``test`` (10,000).
    """
    stem = {"train": "train", "test": "t10k"}[split]
    images = _idx(folder / f"{stem}-images-idx3-ubyte.gz")[:, None].astype(np.float32)
    labels = _idx(folder / f"{stem}-labels-idx1-ubyte.gz").astype(np.int64)
    return (images / 255 - 0.2860) / 0.3530, labels  # mean and deviation of the training images


def _idx(path: Path) -> np.ndarray:
    """One gzipped IDX file of unsigned bytes."""
    try:
        body = gzip.decompress(path.read_bytes())
        dims = body[3]
        shape = struct.unpack(f">{dims}I", body[4 : 4 + 4 * dims])
        return np.frombuffer(body, np.uint8, offset=4 + 4 * dims).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, IndexError) as exc:
        raise UsageError(f"{path} is not a gzipped IDX file ({exc}); fetch it again") from exc
