"""From sentences to the tokens of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latprof.compress.graph import first_line
from latprof.errors import UsageError
from latprof.vocabulary import check_number, require

__all__ = ["TextSettings", "Tokens", "load_tokenizer"]


@dataclass(frozen=True)
class TextSettings:
    """How sentences are prepared; ``[text]`` of a RUN.toml.

    Args:
        tokenizer: folder or name of a tokenizer of transformers; empty: that of the model.
        length: tokens at most; also the length that the network is traced and timed at.
    """

    tokenizer: str = ""
    length: int = 128

    def __post_init__(self) -> None:
        check_number("length", self.length, least=2)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a folder or a name.

    Raises:
        MissingExtraError: transformers is not installed.
        UsageError: there is none.
    """
    library = require("transformers", extra="models", why="data of text")
    if not name:
        raise UsageError(
            "the model names no tokenizer; set tokenizer under [text] to a folder, or to a name "
            "that transformers knows"
        )
    try:
        return library.AutoTokenizer.from_pretrained(name)
    except Exception as exc:
        raise UsageError(f"tokenizer {name}: {first_line(exc)}") from exc


class Tokens:
    """What a network of ``transformers`` takes of one text, or of two, and of a batch of them.

    Args:
        tokenizer: of transformers.
        length: tokens at most.
    """

    def __init__(self, tokenizer: Any, length: int) -> None:
        self._tokenizer, self._length = tokenizer, length

    def __call__(self, *texts: str) -> dict[str, Tensor]:
        """{"input_ids", "attention_mask", ...}, each (T,)."""
        found = self._tokenizer(*texts, truncation=True, max_length=self._length)
        return {name: torch.tensor(values) for name, values in found.items()}

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Rows as one batch, as long as the longest."""
        batch = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            if values[0].ndim == 0:
                batch[name] = torch.stack(values)
                continue
            filler = self._tokenizer.pad_token_id or 0 if name == "input_ids" else 0
            batch[name] = torch.nn.utils.rnn.pad_sequence(
                values, batch_first=True, padding_value=filler
            )
        return batch

    def example(self) -> dict[str, Tensor]:
        """One row of full length, (1, length) each."""
        found = self._tokenizer("a", padding="max_length", max_length=self._length)
        mask = torch.ones(1, self._length, dtype=torch.int64)
        return {
            name: mask if name == "attention_mask" else torch.tensor([values])
            for name, values in found.items()
        }
