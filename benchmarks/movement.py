"""Movement, magnitude and learned thresholds: MiniLM on SST-2 with few of its encoder's weights.

    python -P benchmarks/movement.py FOLDER --data DIR           everything; a table last
    python -P benchmarks/movement.py FOLDER --only-report        what is there

The network of ``sst2.py``. Each method leaves the given share of the weights of its 36 linear
layers in the encoder, one by one; embeddings stay whole. As in Sanh et al., 2020, it begins with
the published network and a new head; with ``--start fine_tuned`` with the network that is
fine-tuned once per seed, which all are compared with. All train as long, with the same learning
rate. Every run is one line of the rows and is not run again. DIR has sst2_train.parquet and
sst2_validation.parquet.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import copy
import itertools
import sys
import time
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import pandas as pd
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import sst2
from _json_rows import add_rows, read_rows, study_parser

from latprof import Compressor, Gradual, Masks, Sparse, Threshold
from latprof.compress import Method, TrainSettings, train

_ENCODER = "bert.encoder.*"
_STARTS = ("published", "fine_tuned")
METHODS: dict[str, Method] = {
    "magnitude": Gradual(score="magnitude"),
    "movement": Gradual(score="movement"),
    "taylor": Gradual(score="taylor"),
    "threshold": Threshold(),
    "masks": Masks(),
}


def main() -> None:
    o = _options()
    if not o.only_report:
        if not (o.data / "sst2_train.parquet").is_file():
            print(f"skipped: no sst2_train.parquet in {o.data}; give --data DIR")
            return
        torch.set_num_threads(o.threads)
        o.folder.mkdir(parents=True, exist_ok=True)
        train_set, test_set = (sst2.sentences(o.data, p, o.sentences) for p in sst2.PARTS)
        for seed, density, method in itertools.product(o.seeds, o.densities, o.methods):
            cell = {"seed": seed, "density": density, "method": method}
            cell |= {"sentences": o.sentences, "epochs": [o.choosing_epochs, o.fine_tune_epochs]}
            cell["start"] = o.start
            batches = sst2.Sentences(train_set.ids, train_set.labels, seed)
            add_rows(o.rows, cell, run, o, batches, test_set, seed, density, method)
    print(report(read_rows(o.rows)))


def run(
    o: argparse.Namespace,
    batches: sst2.Sentences,
    test: sst2.Sentences,
    seed: int,
    density: float,
    method: str,
) -> dict[str, Any]:
    start = time.monotonic()
    fine_tuned = sst2.original(o, batches, seed)
    torch.manual_seed(seed)
    model = sst2.untrained() if o.start == "published" else copy.deepcopy(fine_tuned)
    choosing = TrainSettings(o.choosing_epochs, lr=o.lr, final=0.5)
    encoder = _encoder_weights(model)
    whole = sum(p.numel() for p in model.parameters())
    left = whole - sum(p.numel() for p in encoder) * (1 - density / 100)
    comp = Compressor(
        model,
        sst2.example(),
        None,
        f"params={100 * left / whole}%",
        blocks=[Sparse(layers=(_ENCODER,))],
        method=METHODS[method],
        steps=choosing.steps(len(batches)),
    )
    for settings in (choosing, TrainSettings(o.fine_tune_epochs, lr=o.lr)):
        train(comp, batches, settings, seed=seed)
    small = comp.shrink().eval()
    weights = _encoder_weights(small)
    return {
        "accuracy": sst2.accuracy(small, test),
        "original_accuracy": sst2.accuracy(fine_tuned, test),
        "left": sum(int(p.count_nonzero()) for p in weights) / sum(p.numel() for p in weights),
        "wall_s": time.monotonic() - start,
    }


def _encoder_weights(model: nn.Module) -> list[Tensor]:
    return [
        m.weight
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear) and name.startswith(_ENCODER.rstrip("*"))
    ]


def report(rows: list[dict[str, Any]]) -> str:
    """Accuracy in percent: means over seeds, and their standard deviation."""
    if not rows:
        return "no rows"
    table = pd.DataFrame(rows)
    table["accuracy %"] = 100 * table["accuracy"]
    by = table.groupby(["start", "density", "method"], sort=False)["accuracy %"]
    original = 100 * table.groupby("seed")["original_accuracy"].first().mean()
    return f"original: {original:.2f}%\n\n{by.agg(['mean', 'std', 'count']).round(2).to_string()}"


def _options() -> argparse.Namespace:
    parser = study_parser(__doc__, "movement.jsonl")
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--densities", nargs="*", type=float, default=[15.0, 3.0])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--start", default=_STARTS[0], choices=_STARTS)
    parser.add_argument("--choosing-epochs", type=int, default=4)
    parser.add_argument("--fine-tune-epochs", type=int, default=2)
    return sst2.with_original(parser, sentences=4_000, precision="no")


if __name__ == "__main__":
    main()
