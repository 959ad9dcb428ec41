"""What makes an int8 file of a float one: a Quantizer per format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latprof.compress.export._check import Arrays

__all__ = ["CHOICES", "Quantizer"]

#: What is made int8: all ops with an integer kernel; contractions, which are convolutions and
#: matrix products; or contractions that are no depthwise convolutions.
CHOICES = ("all", "contractions", "dense")


class Quantizer(ABC):
    """A float file and its calibration inputs.

    Laws, tested for every format: what ``quantize`` writes takes and gives float32 under the same
    names, lies beside the original and leaves that as it is; ``run`` of the original gives the
    network's outputs in order, and of the int8 file the same to its rounding.

    Args:
        original: a file of ``export``.
        feeds: inputs by name, each of the file's shapes.
    """

    def __init__(self, original: Path, feeds: Sequence[Arrays]) -> None:
        self.original, self.feeds = original, feeds

    @abstractmethod
    def quantize(self, choice: str) -> Path:
        """Write the int8 file of one of CHOICES.

        Raises:
            MissingExtraError: the format's quantizer is not installed.
            ExportError: it fails.
        """

    @abstractmethod
    def run(self, path: Path) -> list[list[NDArray[Any]]]:
        """Per feed the outputs of the original or of an int8 file."""
