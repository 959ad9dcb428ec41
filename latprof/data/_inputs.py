"""Inputs without labels: a folder of images, arrays of a file, or random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from latprof.data._images import ImageSettings, ImageTransform, open_image
from latprof.errors import UsageError

__all__ = ["Unlabelled", "load_inputs"]

#: Random inputs that stand in where none are given.
_RANDOM = 512
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class Unlabelled(Dataset[Any]):
    """Rows of inputs, each a tensor without the batch, or a tuple of several; and a label, where
    one is known.

    Args:
        columns: per input a tensor (N, ...), or paths of N images.
        transform: from an image to a tensor; None for tensors.
        labels: (N, ...).
    """

    columns: tuple[Any, ...]
    transform: ImageTransform | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, row: int) -> Any:
        values = self.inputs(row)
        found = values[0] if len(values) == 1 else values
        return found if self.labels is None else (found, self.labels[row])

    def inputs(self, row: int) -> tuple[Tensor, ...]:
        """Of one row."""
        values = tuple(column[row] for column in self.columns)
        if self.transform is None:
            return values
        return tuple(self.transform(open_image(path)) for path in values)


def load_inputs(
    source: Path | None,
    names: Sequence[str],
    examples: Sequence[Tensor],
    images: ImageSettings | None = None,
) -> tuple[Unlabelled, Unlabelled]:
    """(inputs to train with, the same as they are tested).

    Args:
        source: folder of images, at any depth; ``.npz`` with an array (N, ...) per input, by name
            or in order; ``.npy`` of the one input; None: random numbers.
        names, examples: of the network's inputs, with a batch.
        images: how images are prepared; by default as ImageNet's are.

    Raises:
        UsageError: no such file, another kind of file, or arrays that do not fit the network.
    """
    names = tuple(names)
    if source is None:
        columns = tuple(_random(x) for x in examples)
    elif source.is_dir():
        return _images(source, names, examples, images or ImageSettings())
    else:
        columns = tuple(_arrays(source, names, examples))
    rows = Unlabelled(columns)
    return rows, rows


def _images(
    folder: Path, names: tuple[str, ...], examples: Sequence[Tensor], images: ImageSettings
) -> tuple[Unlabelled, Unlabelled]:
    size = tuple(examples[0].shape[1:])
    if len(names) != 1 or len(size) != 3 or not examples[0].is_floating_point():
        raise UsageError(f"{folder} holds images; the network takes {_shown(examples)}")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise UsageError(f"{folder} holds no images; expected {', '.join(sorted(_SUFFIXES))}")
    columns = (tuple(map(str, paths)),)
    return (
        Unlabelled(columns, ImageTransform(size, images, training=True)),
        Unlabelled(columns, ImageTransform(size, images)),
    )


def _arrays(path: Path, names: Sequence[str], examples: Sequence[Tensor]) -> list[Tensor]:
    if not path.is_file():
        raise UsageError(f"inputs {path}: no such file or folder")
    if path.suffix not in (".npz", ".npy"):
        raise UsageError(f"inputs {path}: expected a folder of images, .npz or .npy")
    try:
        held = np.load(path, allow_pickle=False)
        arrays = {n: held[n] for n in held.files} if path.suffix == ".npz" else {"": held}
    except Exception as exc:  # of a damaged archive
        raise UsageError(f"inputs {path} cannot be read: {type(exc).__name__}: {exc}") from exc
    if len(arrays) != len(names):
        raise UsageError(
            f"inputs {path} holds {len(arrays)} arrays; the network takes {', '.join(names)}"
        )
    if set(arrays) != set(names):
        arrays = dict(zip(names, arrays.values(), strict=True))
    found, rows = [], len(next(iter(arrays.values())))
    for name, example in zip(names, examples, strict=True):
        array = arrays[name]
        if array.shape[1:] != tuple(example.shape[1:]) or len(array) != rows or rows < 2:
            raise UsageError(
                f"inputs {path}: {name or 'it'} is {array.shape}; expected at least 2 rows of "
                f"{tuple(example.shape[1:])}, the same number of each input"
            )
        found.append(torch.from_numpy(np.ascontiguousarray(array)).to(example.dtype))
    return found


def _random(example: Tensor) -> Tensor:
    """Normal numbers; of whole numbers the example's."""
    dice = torch.Generator().manual_seed(0)
    shape = (_RANDOM, *example.shape[1:])
    if example.is_floating_point():
        return torch.randn(shape, generator=dice, dtype=example.dtype)
    return example[:1].expand(shape).clone()


def _shown(examples: Sequence[Tensor]) -> str:
    return ", ".join(f"{tuple(x.shape)} of {str(x.dtype).removeprefix('torch.')}" for x in examples)
