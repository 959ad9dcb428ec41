"""A user's photos, sentences and small networks, and a table of the fake device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from latprof import LatencyTable
from latprof.compress import trace
from latprof.devices import open_device, profile
from latprof.tables import plan

__all__ = ["fake_table", "photos", "sentences", "tiny_bert"]

WORDS = ("good", "bad", "film", "plot", "fine", "dull", "great", "poor", "very", "so")


def photos(folder: Path, each: int = 20) -> None:
    """Three classes of images that are mostly red, green or blue."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for channel, name in enumerate(("a_red", "b_green", "c_blue")):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = generator.integers(0, 120, (30, 40, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")


def sentences(path: Path, count: int = 64) -> None:
    """Sentences that are good (1) or bad (0)."""
    generator = np.random.default_rng(len(path.name))
    labels = generator.integers(0, 2, count)
    texts = [
        " ".join([*generator.choice(WORDS[2:], size=generator.integers(1, 12)), WORDS[1 - label]])
        for label in labels
    ]
    pd.DataFrame({"sentence": texts, "label": labels}).to_csv(path, index=False)


def tiny_bert(folder: Path) -> None:
    """A BERT of two layers and its tokenizer, as ``save_pretrained`` writes them."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    transformers.BertModel(config).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(
        vocab={word: number for number, word in enumerate(words)}
    ).save_pretrained(folder)


def fake_table(path: Path, model: nn.Module, inputs: Any, n_shapes: int = 60) -> None:
    """A table of the fake device for this model."""
    workloads = trace(model.eval(), inputs).workloads()
    with open_device("fake") as device:
        rows = tuple(profile(device, plan(workloads, n_shapes=n_shapes)))
        LatencyTable(device.target, rows).save(path)
