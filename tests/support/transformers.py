"""Tiny transformers and a task that they learn in seconds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers", reason="pip install 'latprof[transformers]'")

__all__ = ["build", "example", "rows", "small_bert", "small_llama"]


def build(kind: str = "bert", positions: int = 16) -> nn.Module:
    torch.manual_seed(0)
    if kind == "bert":
        config = transformers.BertConfig(
            vocab_size=64,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            max_position_embeddings=positions,
            num_labels=2,
        )
        return transformers.BertForSequenceClassification(config)
    config = transformers.DistilBertConfig(
        vocab_size=64, dim=32, n_layers=2, n_heads=4, hidden_dim=96, max_position_embeddings=16
    )
    return transformers.DistilBertForMaskedLM(config)  # its decoder is tied to its embeddings


def rows(kind: str, n: int = 128) -> list[dict[str, Tensor]]:
    """Is the token 1 more frequent than 2?"""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 3, (n, 12), generator=generator)
    labels = ((ids == 1).sum(1) > 6).long() if kind == "bert" else ids
    mask = torch.ones_like(ids)
    return [
        {"input_ids": i, "attention_mask": m, "labels": label}
        for i, m, label in zip(ids, mask, labels, strict=True)
    ]


def example() -> dict[str, Tensor]:
    ones = torch.ones(1, 12, dtype=torch.long)
    return {"input_ids": ones, "attention_mask": ones}


def small_bert() -> tuple[nn.Module, dict[str, Tensor]]:
    """A MODEL that takes up to 512 tokens."""
    return build(positions=512).eval(), example()


def small_llama() -> tuple[nn.Module, dict[str, Tensor]]:
    """A causal language model of one layer with a cache."""
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_cache=False,
    )
    torch.manual_seed(0)
    ids = torch.randint(0, 64, (1, 12), generator=torch.Generator().manual_seed(1))
    return transformers.LlamaForCausalLM(config).eval(), {"input_ids": ids}
