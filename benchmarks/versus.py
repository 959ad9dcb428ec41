"""Accuracy at equal measured latency: latprof, a FLOPs regulariser, uniform width, Torch-Pruning.

Every finished run is one line of FOLDER/runs.jsonl and is not run again; a killed one goes on
from its last checkpoint. Several of these processes may share a FOLDER.

    python -P benchmarks/versus.py FOLDER                  everything; JSON last
    python -P benchmarks/versus.py FOLDER --only-report    what is there
    python -P benchmarks/versus.py OTHER --dataset cifar10 --data DIR --models resnet18
    python -P benchmarks/versus.py THIRD --runtime tflite    a FOLDER has one runtime
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import cifar10
from _json_rows import read_rows
from _versus_models import LARGE, MODELS
from versus_methods import METHODS, Job, QuietDeployment, Thin, alone, from_file
from versus_report import WHOLE, report

from latprof.compress import TensorBatches, TrainSettings, accuracy, trace, train
from latprof.compress.methods import candidates
from latprof.devices import Device, open_device, profile
from latprof.pipeline import calibrate_into, profile_into
from latprof.pipeline.run import Settings
from latprof.surrogate import fit
from latprof.tables import LatencyTable
from latprof.zoo import fashion_mnist

#: What is measured of a model before any run.
_SHAPES, _VARIANTS = 200, 14
#: Images at the end of the training set that no run trains on: what methods are chosen by.
_HELD_OUT = 5_000
_ORIGINAL_LR = TrainSettings(1).lr
_LOCK = "quiet.lock"


@dataclass(frozen=True)
class Cell:
    model: str
    budget: int
    seed: int
    method: str

    def __str__(self) -> str:
        return f"{self.model}/{self.budget}-{self.seed}-{self.method}"


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    options: argparse.Namespace
    methods: Mapping[str, Callable[[Job], Thin]]
    device: Device
    batches: TensorBatches
    held_out: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @property
    def folder(self) -> Path:
        return Path(self.options.folder)

    @property
    def lock(self) -> Path:
        return Path(self.options.lock or self.folder / _LOCK)

    @property
    def settings(self) -> dict[str, Any]:
        """What two runs must share to be compared."""
        o = self.options
        return {
            "dataset": o.dataset,
            "images": o.images,
            "epochs": [o.original_epochs, o.mask_epochs, o.fine_tune_epochs],
            "lr": o.lr,
            **({"original_lr": o.original_lr} if o.original_lr != _ORIGINAL_LR else {}),
            **({"batch": o.batch} if o.batch != TensorBatches.batch else {}),
        }

    @property
    def models(self) -> dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]]:
        return MODELS[str(self.options.dataset)]

    def data(self, seed: int) -> TensorBatches:
        images, labels = self.batches.images, self.batches.labels
        return TensorBatches(images, labels, self.options.batch, seed)


def main(
    methods: Mapping[str, Callable[[Job], Thin]] = METHODS, default: Sequence[str] = tuple(METHODS)
) -> None:
    """Run ``default`` of ``methods``, unless others are asked for."""
    options = _options(methods, default)
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", module="torch_pruning")
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not options.only_report:
        whole, test = dataset(options)
        cut = len(whole.images) - _HELD_OUT
        kept = min(options.images, cut)
        with open_device("local", runtime=options.runtime, threads=1) as device:
            bench = Bench(
                options,
                methods,
                device,
                TensorBatches(whole.images[:kept], whole.labels[:kept]),
                (whole.images[cut:], whole.labels[cut:]),
                test,
            )
            run_all(bench)
    versions = {p: version(p) for p in ("latprof", "torch", "onnxruntime", "torch-pruning")}
    rows = rows_of(folder)
    print(json.dumps(report(rows, folder) | {"versions": versions, "machine": _machine()}))


def dataset(options: argparse.Namespace) -> tuple[TensorBatches, tuple[Tensor, Tensor]]:
    if options.dataset == "fashion_mnist":
        return fashion_mnist(options.data)
    folder = options.data or cifar10.FOLDER
    if lacking := cifar10.missing(folder):
        print(json.dumps({"skipped": lacking}))
        raise SystemExit
    assert folder is not None
    size = LARGE if options.dataset == "cifar10_96" else 32
    train_set = cifar10.load(folder, "train", options.images + _HELD_OUT, size)
    return TensorBatches(*train_set), cifar10.load(folder, "test", size=size)


def run_all(bench: Bench) -> None:
    o = bench.options
    thinning = [m for m in o.methods if m != "whole"]
    cells = [*itertools.product(o.models, o.budgets, o.seeds, thinning)]
    if "whole" in o.methods:
        cells += itertools.product(o.models, [WHOLE], o.seeds, ["whole"])
    for cell in itertools.starmap(Cell, cells):
        with claimed(bench.folder / str(cell)) as mine:
            if mine and not any(_same(r, cell, bench.settings) for r in rows_of(bench.folder)):
                row = run(bench, cell)
                _append(bench.folder / "runs.jsonl", row)
                shown = ("accuracy", "held_out_accuracy", "share_of_budget", "wall_s")
                print(cell, {k: round(row[k], 4) for k in shown}, file=sys.stderr, flush=True)


def run(bench: Bench, cell: Cell) -> dict[str, Any]:
    """Train, export and measure one network."""
    o, start = bench.options, time.monotonic()
    model, example_inputs = bench.models[cell.model]()
    table = table_of(bench, cell.model, model, example_inputs)
    original_accuracy = train_original(bench, cell, model)
    deployment = QuietDeployment(
        bench.device, bench.folder / str(cell), example_inputs, lock=bench.lock
    )
    settings = Settings(
        budget=f"{cell.budget}%",
        masks=TrainSettings(o.mask_epochs, lr=o.lr, final=0.5),
        fine_tune=TrainSettings(o.fine_tune_epochs, lr=o.lr),
        seed=cell.seed,
    )
    data, path = bench.data(cell.seed), bench.folder / f"{cell.model}.parquet"
    job = Job(deployment, model, fit(table), settings, data, path)
    thin = bench.methods[cell.method](job)
    deployed = thin.deployment or deployment
    original, small = deployment.export(model, "original"), deployed.export(thin.model, "thin")
    (original_s,) = deployment.time(original)
    ratio = float(np.median([deployment.ratios(original, small) for _ in range(o.readings)]))
    graph = trace(thin.model, example_inputs)
    full = trace(model, example_inputs)
    row = {
        **vars(cell),
        "settings": bench.settings,
        "accuracy": deployed.accuracy(thin.model, small, bench.test),
        "held_out_accuracy": deployed.accuracy(thin.model, small, bench.held_out),
        "original_accuracy": original_accuracy,
        "original_s": original_s,
        "latency_s": original_s * ratio,
        "share_of_budget": ratio / job.share,
        "macs": graph.stats().macs / full.stats().macs,
        "params": graph.stats().params / full.stats().params,
        "predicted_s": float(job.surrogate.predict_model(graph.workloads()).latency_s),
        "original_predicted_s": float(job.surrogate.predict_model(full.workloads()).latency_s),
        "wall_s": time.monotonic() - start,
        **thin.facts,
    }
    if thin.comp is not None:
        row["counts"] = thin.comp.counts()
        row["ratio_before_fix"] = float(thin.comp.ratio_before_fix)
        if cell.method == "latprof":
            row["neighbours"] = wider_neighbours(bench, thin.comp.graph, thin.comp.counts())
    return row


def wider_neighbours(bench: Bench, graph: Any, counts: list[int]) -> list[dict[str, Any]]:
    """Each layer whose output was thinned, beside itself at the next count up, measured alone."""
    pairs = {}
    here = graph.workloads(counts)
    for group, count in zip(graph.groups, counts, strict=True):
        above = [c for c in candidates(group) if c > count]
        if not above:
            continue
        wider = graph.workloads(
            [above[0] if g is group else c for g, c in zip(graph.groups, counts, strict=True)]
        )
        for op, narrow, wide in zip(graph.ops, here, wider, strict=True):
            if group.index in op.mixing[1]:
                pairs[narrow, wide] = group.name
    shapes = list(dict.fromkeys(itertools.chain.from_iterable(pairs)))
    with alone(bench.lock):
        timed = {m.workload: m for m in profile(bench.device, shapes)}
    return [
        {
            "group": name,
            "op": narrow.label,
            "channels": [*narrow.channels, *wide.channels],
            "latency_s": timed[narrow].latency_s,
            "wider_s": timed[wide].latency_s,
            "usable": timed[narrow].usable and timed[wide].usable,
        }
        for (narrow, wide), name in pairs.items()
    ]


def table_of(
    bench: Bench, name: str, model: nn.Module, example_inputs: tuple[Any, ...]
) -> LatencyTable:
    """The device's latencies for this model, measured once."""
    path = bench.folder / f"{name}.parquet"
    done = path.with_suffix(".done")
    if not done.exists():
        with alone(bench.lock):
            graph = trace(model, example_inputs)
            bits = bench.options.bits
            profile_into(path, bench.device, graph.workloads(), n_shapes=_SHAPES, bits=bits)
            calibrate_into(
                path, bench.device, model, graph, example_inputs, name=name, n_variants=_VARIANTS
            )
            done.touch()
    return LatencyTable.load(path)


def train_original(bench: Bench, cell: Cell, model: nn.Module) -> float:
    """Load the seed's original, or train it: all methods start from the same. Its accuracy."""
    o = bench.options
    stem = f"original-{cell.seed}-{o.images}-{o.original_epochs}"
    path = bench.folder / cell.model / f"{stem}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.with_suffix(".lock")):
        if not path.exists():
            torch.manual_seed(cell.seed)
            fresh, _ = bench.models[cell.model]()
            train(
                fresh,
                bench.data(cell.seed),
                TrainSettings(o.original_epochs, lr=o.original_lr),
                checkpoint=path.with_suffix(".checkpoint"),
                seed=cell.seed,
            )
            part = path.with_suffix(".part")
            reached = accuracy(fresh.eval(), *bench.test)
            torch.save({"state": fresh.state_dict(), "accuracy": reached}, part)
            part.replace(path)
        saved = torch.load(path, weights_only=True)
    model.load_state_dict(saved["state"])
    model.eval()
    return float(saved["accuracy"])


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """True where no other process works in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "claim").open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return read_rows(folder / "runs.jsonl")


def _same(row: dict[str, Any], cell: Cell, settings: dict[str, Any]) -> bool:
    return row["settings"] == settings and all(row[k] == v for k, v in vars(cell).items())


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        out.write(json.dumps(row) + "\n")


def _machine() -> str:
    return platform.processor() or platform.machine()


def _options(methods: Mapping[str, Any], default: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", default="fashion_mnist", choices=MODELS)
    parser.add_argument("--models", nargs="*", metavar="MODEL", help="all by default")
    parser.add_argument("--budgets", nargs="*", type=int, default=[40, 60, 80], metavar="PERCENT")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="*", default=list(default), choices=methods)
    parser.add_argument("--images", type=int, default=20_000, help="to train on, 55,000 at most")
    parser.add_argument("--batch", type=int, default=TensorBatches.batch, help="of training")
    parser.add_argument("--bits", nargs="*", type=int, default=[], help="also measured of weights")
    parser.add_argument("--original-epochs", type=int, default=3)
    parser.add_argument("--original-lr", type=float, default=_ORIGINAL_LR)
    parser.add_argument("--mask-epochs", type=int, default=2)
    parser.add_argument("--fine-tune-epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--readings", type=int, default=3, help="of each finished network")
    parser.add_argument("--threads", type=int, help="of training; the runtime's is always one")
    parser.add_argument("--runtime", default="onnxruntime", choices=["onnxruntime", "tflite"])
    parser.add_argument("--data", type=Path, help="folder with the data set's files")
    parser.add_argument("--lock", type=Path, help="held while latency is measured")
    parser.add_argument("--only-report", action="store_true")
    options = parser.parse_args()
    known = list(MODELS[options.dataset])
    options.models = options.models or known
    if unknown := set(options.models) - set(known):
        parser.error(f"--models {', '.join(unknown)}; expected of {', '.join(known)}")
    return options


if __name__ == "__main__":
    main(METHODS | {"from_file": from_file}, tuple(METHODS))
