"""Rows with columns: a folder of images by class, or a table that ``datasets`` reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latprof.compress.graph import first_line
from latprof.data._text import Tokens
from latprof.errors import UsageError
from latprof.vocabulary import require

__all__ = ["COLUMNS", "Table", "image_folder", "read_table"]

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
#: What a column may be.
COLUMNS = ("image", "text", "text_pair", "label")
#: Names of columns that need not be given.
_USUAL = {
    "image": ("image", "img", "pixels"),
    "text": ("text", "sentence", "sentence1", "content"),
    "label": ("label", "labels", "target", "class"),
}


class Table(ABC):
    """Rows by number; a label each, and an image or a text.

    Attributes:
        classes: their names in the order of their numbers; None where nothing says them.
        has_text: rows are texts.
    """

    classes: list[str] | None = None
    has_text: bool = False
    name: str = ""

    @abstractmethod
    def raw_labels(self) -> Sequence[Any]:
        """As they stand in the data, (N,)."""

    def labels(self, names: Sequence[str] | None, *, regression: bool = False) -> np.ndarray:
        """Class numbers (N,), or numbers of a regression.

        Raises:
            UsageError: a label that is none, by its row.
        """
        values = self.raw_labels()
        if names is not None and any(isinstance(value, str) for value in values):
            numbers = {name: number for number, name in enumerate(names)}
            for row, value in enumerate(values):
                if str(value) not in numbers:
                    raise UsageError(
                        f"{self.name}: row {row} has label {value!r}; the training data has "
                        f"{', '.join(names[:6])}"
                    )
            return np.array([numbers[str(value)] for value in values], dtype=np.int64)
        for row, value in enumerate(values):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not (whole or (regression and isinstance(value, float) and np.isfinite(value))):
                expected = "a finite number" if regression else "a whole number or a name"
                raise UsageError(f"{self.name}: row {row} has label {value!r}; expected {expected}")
        return np.array(values, dtype=np.float32 if regression else np.int64)

    def image(self, row: int) -> Any:
        """A path, bytes or a ``PIL.Image``."""
        raise NotImplementedError

    def tokens(self, tokens: Tokens) -> Callable[[int], Any]:
        """From a row's number to its tokens."""
        raise NotImplementedError


class _Folder(Table):
    def __init__(self, name: str, classes: list[str], files: list[Path], labels: list[int]) -> None:
        self.name, self.classes = f"data {name}", classes
        self._files, self._labels = files, labels

    def raw_labels(self) -> Sequence[Any]:
        return self._labels

    def image(self, row: int) -> Any:
        return self._files[row]


def image_folder(path: Path, name: str) -> Table:
    """A folder of one folder of images per class; classes are numbered in the alphabet's order.

    Raises:
        UsageError: no such folder, or no images in it.
    """
    if not path.is_dir():
        raise UsageError(f"data {name}: no such folder: {path}")
    classes = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    files, labels = [], []
    for number, each in enumerate(classes):
        found = sorted(p for p in (path / each).rglob("*") if p.suffix.lower() in _SUFFIXES)
        files += found
        labels += [number] * len(found)
    if len(classes) < 2 or not files:
        raise UsageError(
            f"data {name}: {path} has {len(classes)} folders and {len(files)} images; expected one "
            "folder of images per class"
        )
    return _Folder(name, classes, files, labels)


class _Columns(Table):
    """A ``datasets.Dataset``."""

    def __init__(self, data: Any, columns: Mapping[str, str], name: str) -> None:
        self.name, self._data = f"data {name}", data
        unknown = set(columns) - set(COLUMNS)
        if unknown:
            raise UsageError(
                f"columns has {sorted(unknown)[0]}; expected one of {', '.join(COLUMNS)}"
            )
        self._label = self._column("label", columns)
        inputs = [kind for kind in ("image", "text") if self._column(kind, columns, must=False)]
        asked = [kind for kind in inputs if kind in columns] or inputs
        if not asked:
            raise UsageError(f"{self.name} has columns {self._names}; set columns.image or .text")
        self.has_text = asked[0] == "text"
        self._input = self._column(asked[0], columns)
        self._pair = self._column("text_pair", columns, must=False) if self.has_text else ""
        feature = data.features[self._label]
        self.classes = list(feature.names) if hasattr(feature, "names") else None
        if not self.has_text:
            image = data.features[self._input]
            if type(image).__name__ == "Image":  # decoded by open_image, where a failure is named
                self._data = data.cast_column(self._input, type(image)(decode=False))

    @property
    def _names(self) -> str:
        return ", ".join(self._data.column_names)

    def _column(self, kind: str, columns: Mapping[str, str], *, must: bool = True) -> str:
        """Name of a column as told, or as usual; empty where it need not be."""
        if kind in columns:
            if columns[kind] not in self._data.column_names:
                raise UsageError(
                    f"{self.name} has no column {columns[kind]!r} for {kind}; it has {self._names}"
                )
            return columns[kind]
        found = [name for name in _USUAL.get(kind, ()) if name in self._data.column_names]
        if not found and must:
            raise UsageError(
                f"{self.name} has columns {self._names}, and none is the {kind}; set "
                f'columns.{kind} = "NAME"'
            )
        return found[0] if found else ""

    def raw_labels(self) -> Sequence[Any]:
        return list(self._data[self._label])

    def image(self, row: int) -> Any:
        return self._data[row][self._input]

    def tokens(self, tokens: Tokens) -> Callable[[int], Any]:
        def prepared(row: int) -> Any:
            values = self._data[row]
            texts = [values[name] for name in (self._input, self._pair) if name]
            for text in texts:
                if not isinstance(text, str):
                    raise UsageError(f"{self.name}: row {row} has {text!r}; expected a text")
            return tokens(*texts)

        return prepared


def read_table(
    kind: str,
    name: str,
    part: str,
    columns: Mapping[str, str],
    folder: Path,
    *,
    missing_ok: bool = False,
) -> Table | None:
    """A table through ``datasets``; None where ``missing_ok`` and it has no such part.

    Args:
        kind: ``hf``, ``parquet``, ``csv`` or ``json``.
        part: of a data set of the hub, or that ``save_to_disk`` wrote.

    Raises:
        MissingExtraError: datasets is not installed.
        UsageError: it cannot be read.
    """
    library = require("datasets", extra="data", why=f"data {kind}:{name}")
    path = folder / name
    try:
        if kind != "hf":
            if not path.is_file():
                raise UsageError(f"data {kind}:{name}: no such file: {path}")
            made = library.load_dataset(kind, data_files={"rows": str(path)})["rows"]
        else:
            whole = library.load_from_disk(path) if path.is_dir() else library.load_dataset(name)
            if part not in whole:
                if missing_ok:
                    return None
                raise UsageError(
                    f"data hf:{name} has no part {part}; it has {', '.join(map(str, whole))}"
                )
            made = whole[part]
    except UsageError:
        raise
    except Exception as exc:
        raise UsageError(f"data {kind}:{name} cannot be read: {first_line(exc)}") from exc
    return _Columns(made, columns, f"{kind}:{name}")
