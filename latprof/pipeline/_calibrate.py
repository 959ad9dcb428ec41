"""``calibrate``: whole models measured into a table, from which a fit learns how ops add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from latprof.compress import trace
from latprof.devices import open_target
from latprof.errors import UsageError
from latprof.models import load_model, with_tokens
from latprof.pipeline.into import calibrate_into
from latprof.tables import LatencyTable

__all__ = ["CalibrateResult", "calibrate"]


@dataclass(frozen=True)
class CalibrateResult:
    """The table with its whole-model rows."""

    path: Path
    table: LatencyTable

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {
            "table": str(self.path),
            "target": self.table.target.to_dict(),
            "models": [
                {"name": m.name, "status": m.status, "latency_s": m.latency_s}
                for m in self.table.usable_models
            ],
        }


def calibrate(
    table: str | Path | LatencyTable,
    model: str,
    *,
    variants: int = 12,
    seq: int | Sequence[int] = (),
    device: str = "local",
    seed: int = 0,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> CalibrateResult:
    """Measure ``model`` and random-width variants of it whole, into the table.

    Variants that the table already holds are not measured again.

    Args:
        table: path of the table of the device's target.
        model: MODEL string of a module; a file cannot be made smaller.
        variants: how many beside the model itself.
        seq: tokens of each input, of a model that takes tokens; at each of several, the model and
            so many variants are measured.
        device: where they are measured.
        seed: of the widths.
        on_step: called with (done, total) as variants are exported and measured.
        settings: of the device or the runtime, by name.

    Raises:
        UsageError: the table is not a path, or of another target.

    Example:
        >>> latprof.calibrate("local.parquet", "zoo:resnet18")  # doctest: +SKIP
    """
    if isinstance(table, LatencyTable):
        raise UsageError("the table to calibrate is in memory; expected its path, to add rows to")
    path = Path(table)
    loaded = LatencyTable.load(path)
    module, example_inputs, name = load_model(model)
    lengths: list[int | None] = [seq] if isinstance(seq, int) else [*seq] or [None]
    total = len(lengths) * (variants + 1)
    with open_target(device, loaded.target, **settings) as opened:
        for number, tokens in enumerate(lengths):
            heard = partial(_heard, on_step, number * (variants + 1), total)
            inputs = (
                example_inputs if tokens is None else with_tokens(example_inputs, tokens, model)
            )
            calibrated = calibrate_into(
                path,
                opened,
                module,
                trace(module, inputs),
                inputs,
                name=name if tokens is None else f"{name}@{tokens}",
                n_variants=variants,
                seed=seed,
                on_step=heard,
            )
    return CalibrateResult(path, calibrated)


def _heard(on_step: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    """What one length says of itself, as a part of all."""
    on_step(before + done, total)
