"""What ``latprof compress`` does with a checked RUN.toml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from latprof.devices import open_target
from latprof.models import load_model, load_weights
from latprof.pipeline.run._compression import Workshop, compress_in, conclude
from latprof.pipeline.run._run_file import RunFile
from latprof.pipeline.run._watching import Progress
from latprof.surrogate import fit
from latprof.tables import LatencyTable
from latprof.vocabulary import load_callable

__all__ = ["run_file"]


def run_file(
    config: RunFile,
    on_progress: Progress,
    say: Callable[[str], None],
    *,
    tensorboard: bool = False,
    **settings: str,
) -> dict[str, Any]:
    """Train, shrink, export and measure; returns the figures of the original and the compressed.

    Args:
        tensorboard: write scalars to ``tensorboard/`` in the run folder.
        settings: of the device, before those of the run file.

    Raises:
        MissingExtraError: tensorboardX is asked for and not installed.
        UsageError: a name does not import, the table is of another target, the budget cannot
            be met; all before any training.
    """
    table = LatencyTable.load(config.table)
    model, example_inputs, _ = load_model(config.model)
    if config.weights is not None:
        load_weights(model, config.weights)
    batches, test = load_callable(config.data)()
    target = table.target
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "run.toml").write_text(config.text)
    board = None
    if tensorboard:
        from latprof.integrations import TensorBoard

        board = TensorBoard(config.out / "tensorboard")
    with open_target(config.device, target, **{**config.device_settings, **settings}) as device:
        workshop = Workshop(device, config.out, example_inputs)
        if config.settings.int8:
            workshop = workshop.in_int8(model, batches)
        done = compress_in(
            workshop, model, fit(table), config.settings, batches, on_progress, board
        )
        comp = done.comp
        say(f"budget {comp.goals}")
        networks = {
            "original": (model, comp.space.sizes),
            "compressed": (done.small, comp.counts()),
        }
        return conclude(workshop, networks, done, test)
