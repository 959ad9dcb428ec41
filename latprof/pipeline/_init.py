"""``init``: a RUN.toml with comments, to start from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latprof.errors import UsageError
from latprof.pipeline.run import RunFile
from latprof.pipeline.table import require_free
from latprof.vocabulary import replace_file

__all__ = ["InitResult", "init"]

_TEMPLATE = """\
# What `latprof compress {name}` does. Paths are relative to this file.
# Try it without training: latprof compress {name} --check

# A file (.pt2), zoo:NAME, timm:NAME, torchvision:NAME, transformers:NAME, package.module:callable
# or file.py:callable, which returns (module, example_inputs).
model = {model}
# weights = "weights.pt"     # state dict of the trained network, where MODEL brings none

# package.module:callable or file.py:callable that returns (batches, (test inputs, labels)).
data = {data}

# Latency table of the device: latprof profile DEVICE --for MODEL -o TABLE
table = {table}
device = {device}            # where exported files are measured

# "5 ms", "500/s", "60%" of the original's latency, "macs=50%", "params=1.2M", "bytes=4MB",
# "memory=20MB"; or a list of them.
budget = {budget}

# Folder of checkpoints, results and the file to deploy.
out = {out}

[masks]                      # the phase that decides what goes
epochs = 3
lr = 2e-3
final = 0.5                  # learning rate at its end, as a share of the peak

[fine_tune]                  # the shrunk network
epochs = 2
lr = 2e-3

[distillation]               # from the original
coefficient = 0.5            # 0: none
temperature = 3.0

[prune]                      # what may be done: also [depth], [low_rank], [sparse], [quantize]
# exclude = ["head*"]        # modules to leave whole
"""


@dataclass(frozen=True)
class InitResult:
    """The file that was written."""

    path: Path

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {"run": str(self.path)}


def init(
    model: str,
    data: str,
    table: str | Path,
    *,
    budget: str = "60%",
    device: str = "local",
    out: str | Path = "run.toml",
    force: bool = False,
) -> InitResult:
    """Write a RUN.toml with comments for a model and its data.

    Args:
        model: MODEL string.
        data: callable that returns (batches, (test inputs, labels)).
        table: latency table of the device, relative to the file that is written.
        budget: see ``latprof.Compressor``.
        device: where exported files are measured.
        out: file to write; its run folder gets its name without the suffix.
        force: replace a file that is there.

    Raises:
        UsageError: the file is there, or an argument makes no sense.

    Example:
        >>> latprof.init("zoo:resnet18", "mine:data", "local.parquet").path  # doctest: +SKIP
        PosixPath('run.toml')
    """
    path = Path(out)
    require_free(path, force)
    folder = path.stem if path.suffix else f"{path.name}-run"
    given = {
        "model": model,
        "data": data,
        "table": str(table),
        "device": device,
        "budget": budget,
        "out": folder,
    }
    for name, value in given.items():
        if not value or "\n" in value:
            raise UsageError(f"{name} is {value!r}; expected one line of text")
    text = _TEMPLATE.format(name=path.name, **{k: json.dumps(v) for k, v in given.items()})
    RunFile.parse(text, path)
    return InitResult(replace_file(path, text.encode()))
