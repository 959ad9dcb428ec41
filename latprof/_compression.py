"""One compression run in a folder: masks, shrink, fine-tune, export, measure; resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latprof._errors import DeviceError
from latprof.compress import (
    Batches,
    Compressor,
    Distillation,
    Graph,
    Prune,
    Recipe,
    Tick,
    accuracy,
    export,
    train,
)
from latprof.devices import Device, measure_files
from latprof.surrogate import Surrogate
