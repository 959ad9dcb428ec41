"""CIFAR-10 from Parquet: cifar10_train.parquet and cifar10_test.parquet, of columns ``image`` (an
encoded picture) and ``label``."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

__all__ = ["FOLDER", "load", "missing"]

#: $LATPROF_CIFAR10, where it is given.
FOLDER = Path(os.environ["LATPROF_CIFAR10"]) if "LATPROF_CIFAR10" in os.environ else None
_MEAN, _DEVIATION = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.262)


def missing(folder: Path | None) -> str:
    """What to say where the folder does not hold the data; empty where it does."""
    if folder is not None and (folder / "cifar10_train.parquet").is_file():
        return ""
    return f"no cifar10_train.parquet in {folder}; give --data DIR, or LATPROF_CIFAR10"


def load(folder: Path, part: str, most: int = 10_000, size: int = 32) -> tuple[Tensor, Tensor]:
    """Normalized images (N, 3, size, size) and labels (N,) of ``train`` or ``test``, the first
    ones; other sizes than 32 by bilinear interpolation."""
    table = pd.read_parquet(folder / f"cifar10_{part}.parquet").head(most)
    pictures = (Image.open(io.BytesIO(b)).convert("RGB") for b in table["image"])
    if size != 32:
        pictures = (p.resize((size, size), Image.Resampling.BILINEAR) for p in pictures)
    pixels = np.stack([np.asarray(p) for p in pictures])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    images -= torch.tensor(_MEAN)[:, None, None]
    images /= torch.tensor(_DEVIATION)[:, None, None]
    return images, torch.from_numpy(table["label"].to_numpy(np.int64))
