"""FastNAS of nvidia-modelopt beside latprof: versus.py with one more method.

    pip install nvidia-modelopt torchprofile
    python -P benchmarks/fastnas.py FOLDER --dataset cifar10 --data DIR --models resnet20

FastNAS estimates what each layer's width costs in accuracy, one layer at a time, and takes the
network of fewer FLOPs than asked for whose worst layer costs least. Here it is asked for the
share of FLOPs at which its network measures within the budget; then it is trained for as long as
the others, with the same teacher.
"""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from pathlib import Path
from typing import Any

from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
import versus
from versus_methods import METHODS, Job, Thin, slowest, trained

from latprof.compress import TensorBatches, accuracy

#: Training images that widths are judged by.
_JUDGED = 1_000
#: Of ResNet-20's 16, 32 and 64 channels.
_MULTIPLE = 4


def fastnas(job: Job) -> Thin:
    judged = job.batches.images[-_JUDGED:], job.batches.labels[-_JUDGED:]
    thin = functools.cache(lambda share: _searched(job, share, judged))
    return trained(job, copy.deepcopy(slowest(job, thin)))


def _searched(job: Job, share: float, judged: Any) -> nn.Module:
    """FastNAS's network of this share of the FLOPs."""
    prune: Any = importlib.import_module("modelopt.torch.prune")
    calibration = TensorBatches(*judged)
    settings = prune.fastnas.FastNASConfig().model_dump(by_alias=True)
    for choices in settings.values():
        choices["*"].update({name: _MULTIPLE for name in choices["*"] if "divisor" in name})
    small, _ = prune.prune(
        copy.deepcopy(job.model),
        mode=[("fastnas", settings)],
        constraints={"flops": f"{100 * share}%"},
        dummy_input=job.deployment.example_inputs,
        config={
            "data_loader": calibration.epoch(0),
            "collect_func": lambda batch: batch[0],
            "score_func": lambda model: accuracy(model, *judged),
            "checkpoint": str(job.deployment.folder / "fastnas.pt"),
            "verbose": False,
        },
    )
    network: nn.Module = small
    return network.eval()


if __name__ == "__main__":
    versus.main(METHODS | {"fastnas": fastnas}, ["latprof", "uniform", "fastnas"])
