"""Training and test data by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from latprof.data._images import ImageSettings, ImageTransform, open_image
from latprof.data._rows import Rows
from latprof.data._table import Table, image_folder, read_table
from latprof.data._text import TextSettings, Tokens, load_tokenizer
from latprof.errors import UsageError

__all__ = ["PREFIXES", "DataSource", "load_data"]

#: What a name of data begins with.
PREFIXES = ("folder", "hf", "parquet", "csv", "json")
#: Share of the rows that are held out for the test where no test data is named.
_TEST_SHARE = 0.1


@dataclass(frozen=True)
class DataSource:
    """Data by name, and how its rows are read.

    Args:
        train: ``folder:PATH``, ``hf:NAME``, ``parquet:PATH``, ``csv:PATH`` or ``json:PATH``.
        test: likewise; None: the test part of ``train`` where it has one, else a tenth of its rows.
        columns: names of the columns ``image`` or ``text`` (and ``text_pair``), and ``label``.
        images, text: how these are prepared.
        folder: paths are relative to it.
        regression: labels are numbers, not classes.
        seed: of which rows are held out.
    """

    train: str
    test: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    images: ImageSettings = field(default_factory=ImageSettings)
    text: TextSettings = field(default_factory=TextSettings)
    folder: Path = Path()
    regression: bool = False
    seed: int = 0


def load_data(
    source: DataSource, size: Sequence[int] | None, tokenizer: str = "", *, batch: int = 32
) -> tuple[Any, Any, dict[str, Any] | None]:
    """(training data, test data, example inputs of text or None).

    Images are (C, H, W) tensors beside their label; a text is a dict of tokens and ``labels``. A
    row is read when its batch is needed.

    Args:
        size: (C, H, W) of the images that the network takes; None where it takes none.
        tokenizer: name of the model's own.
        batch: rows of a batch of text, which is as long as its longest row.

    Raises:
        MissingExtraError: a package that reads this data is not installed.
        UsageError: no such file, column or class, in one line.
    """
    tables = _tables(source)
    train, test = tables
    names = train.classes if train.classes is not None else _names(train, source)
    labels = [table.labels(names, regression=source.regression) for table in tables]
    if train is test:
        rows = _split(len(labels[0]), source.seed)
    else:
        rows = [list(range(len(each))) for each in labels]
    if train.has_text:
        tokens = Tokens(
            load_tokenizer(_local(source.text.tokenizer, source.folder) or tokenizer),
            source.text.length,
        )
        loaders = [
            DataLoader(
                Rows(chosen, label, table.tokens(tokens), is_text=True, name=table.name),
                batch_size=min(batch, max(1, len(chosen))),
                shuffle=table_is_first,
                collate_fn=tokens.collate,
            )
            for table_is_first, chosen, label, table in zip(
                (True, False), rows, labels, tables, strict=True
            )
        ]
        return loaders[0], loaders[1], tokens.example()
    if size is None:
        raise UsageError(
            f"{source.train} holds images, and the network takes none: its example inputs are not "
            "(1, channels, height, width)"
        )
    made = [
        Rows(
            chosen,
            label,
            _image(table, ImageTransform(size, source.images, training=training)),
            name=table.name,
        )
        for training, chosen, label, table in zip((True, False), rows, labels, tables, strict=True)
    ]
    return made[0], made[1], None


def _tables(source: DataSource) -> tuple[Table, Table]:
    """Of training and test; twice the same where rows of one are to be held out."""
    train = _open(source.train, source, "train")
    if source.test is not None:
        return train, _open(source.test, source, "test")
    kind, _, name = source.train.partition(":")
    if kind in ("folder", "hf"):
        for part in ("test", "validation", "val"):
            found = _part(kind, name, part, source)
            if found is not None:
                return train, found
    return train, train


def _open(spec: str, source: DataSource, part: str) -> Table:
    kind, _, name = spec.partition(":")
    if kind not in PREFIXES or not name:
        raise UsageError(
            f"data is {spec!r}; expected one of {', '.join(p + ':' for p in PREFIXES)}"
        )
    if kind == "folder":
        path = source.folder / name
        return image_folder(path / part if (path / part).is_dir() else path, spec)
    table = read_table(kind, name, part, source.columns, source.folder)
    assert table is not None  # else an error
    return table


def _part(kind: str, name: str, part: str, source: DataSource) -> Table | None:
    if kind == "folder":
        path = source.folder / name / part
        inside = (source.folder / name / "train").is_dir() and path.is_dir()
        return image_folder(path, f"folder:{name}/{part}") if inside else None
    return read_table(kind, name, part, source.columns, source.folder, missing_ok=True)


def _names(train: Table, source: DataSource) -> list[str] | None:
    """Names of the classes, where labels are texts: in the order of the alphabet."""
    values = train.raw_labels()
    if source.regression or not any(isinstance(value, str) for value in values):
        return None
    return sorted({str(value) for value in values})


def _split(count: int, seed: int) -> list[list[int]]:
    """Rows to train with, and rows to test with."""
    held = max(1, round(count * _TEST_SHARE))
    if count < 2:
        raise UsageError(f"the data has {count} rows; expected at least 2, to hold one out")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return [sorted(order[held:]), sorted(order[:held])]


def _image(table: Table, transform: ImageTransform) -> Callable[[int], Any]:
    return lambda row: transform(open_image(table.image(row)))


def _local(name: str, folder: Path) -> str:
    """A name that is a folder beside RUN.toml as its path."""
    return str(folder / name) if name and (folder / name).exists() else name
