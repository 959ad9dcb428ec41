"""From an image of any size to what a network takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latprof.errors import UsageError
from latprof.vocabulary import check_number, require

__all__ = ["ImageSettings", "ImageTransform", "open_image"]

#: Of ImageNet's pixels in [0, 1], which published networks expect.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Images of gray: to [-1, 1].
_GRAY = (0.5,)
#: Sides from which test images lose their margin, and the share that is left of a side.
_LARGE, _CENTER = 160, 0.875
#: Largest ratio of the sides of a random crop.
_MAX_ASPECT = 4 / 3


@dataclass(frozen=True)
class ImageSettings:
    """How images are prepared; ``[images]`` of a RUN.toml.

    Args:
        mean, std: of each channel, of pixels in [0, 1]; by default the network's own, or
            ImageNet's.
        min_area: training images are cut to a random part of at least this share; 1: they are not.
        flip: training images are mirrored at random, left to right.

    Raises:
        UsageError: a value that cannot be, by its name.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    min_area: float = 0.35
    flip: bool = True

    def __post_init__(self) -> None:
        check_number("min_area", self.min_area, above=0.0, most=1.0)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
                raise UsageError(f"{name} is {list(values)}; expected numbers")
        if any(value <= 0 for value in self.std):
            raise UsageError(f"std is {list(self.std)}; expected numbers above 0")


class ImageTransform:
    """A PIL image to (C, height, width), float32.

    Args:
        size: (channels, height, width), with 1 or 3 channels.
        settings: see ``ImageSettings``.
        training: with random crops and flips, drawn by torch.

    Raises:
        UsageError: other channels, or means that are not one a channel.
    """

    def __init__(
        self, size: Sequence[int], settings: ImageSettings, *, training: bool = False
    ) -> None:
        channels, self._height, self._width = size
        if channels not in (1, 3):
            raise UsageError(f"the network takes {channels} channels; images have 1 or 3")
        self._mode = "L" if channels == 1 else "RGB"
        self._settings, self._training = settings, training
        default = (_GRAY, _GRAY) if channels == 1 else (_MEAN, _STD)
        mean, std = settings.mean or default[0], settings.std or default[1]
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != channels:
                raise UsageError(f"{name} has {len(values)} numbers; expected {channels}")
        self._mean = torch.tensor(mean).view(-1, 1, 1)
        self._std = torch.tensor(std).view(-1, 1, 1)

    def __call__(self, image: Any) -> Tensor:
        """(C, height, width) of a ``PIL.Image``."""
        image = image.convert(self._mode)
        box = self._random_box(*image.size) if self._training else self._center(*image.size)
        resized = image.resize((self._width, self._height), 2, box=box)  # bilinear
        pixels = torch.from_numpy(np.array(resized)).view(self._height, self._width, -1)
        tensor = pixels.permute(2, 0, 1).float() / 255  # (C, H, W)
        if self._training and self._settings.flip and float(torch.rand(())) < 0.5:
            tensor = tensor.flip(2)
        return ((tensor - self._mean) / self._std).contiguous()

    def _center(self, width: int, height: int) -> tuple[float, float, float, float]:
        """(left, upper, right, lower) of the largest middle part of the network's shape."""
        scale = min(width / self._width, height / self._height)
        if min(self._width, self._height) >= _LARGE:
            scale *= _CENTER
        return _box(width, height, self._width * scale, self._height * scale, 0.5, 0.5)

    def _random_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """A random part of random shape and place (Szegedy et al., arXiv:1409.4842)."""
        least = self._settings.min_area
        if least == 1.0:
            return _box(width, height, width, height, 0.5, 0.5)
        area, ratio, x, y = torch.rand(4).tolist()
        aspect = math.exp((2 * ratio - 1) * math.log(_MAX_ASPECT)) * self._width / self._height
        pixels = width * height * (least + (1 - least) * area)
        wide, high = math.sqrt(pixels * aspect), math.sqrt(pixels / aspect)
        return _box(width, height, min(wide, width), min(high, height), x, y)


def open_image(value: Any) -> Any:
    """A ``PIL.Image`` of a path, of bytes, of {"bytes", "path"} as ``datasets`` keeps it, or of an
    image."""
    image = require("PIL.Image", extra="data", why="data of images")
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        import io

        value = io.BytesIO(value)
    if hasattr(value, "convert"):
        return value
    opened = image.open(value)
    opened.load()
    return opened


def _box(
    width: int, height: int, wide: float, high: float, x: float, y: float
) -> tuple[float, float, float, float]:
    left, upper = (width - wide) * x, (height - high) * y
    return left, upper, left + wide, upper + high
