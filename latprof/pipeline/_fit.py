"""``fit``: a surrogate of a table, its held-out error and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from latprof.errors import FitError
from latprof.surrogate import HeldOut, Surrogate, compare, plot_fit
from latprof.surrogate import fit as fit_table
from latprof.tables import Family, LatencyTable, families_of

__all__ = ["Fit", "fit", "loaded"]


@dataclass(frozen=True)
class Fit(Surrogate):
    """A surrogate, with the table it was fitted to.

    Args:
        table: the rows.
        seed: of the folds that are held out.
        plots: pictures that were written.
    """

    table: LatencyTable = field(kw_only=True)
    seed: int = field(default=0, kw_only=True)
    plots: tuple[Path, ...] = field(default=(), kw_only=True)

    @cached_property
    def compared(self) -> Mapping[str, HeldOut | FitError]:
        """Held-out error of each method on the table's rows, or why it does not fit them; of
        ``auto``, with the donors."""
        with_donors = [f.held_out for f in self.labels.values() if f.held_out and f.donor]
        if not with_donors:
            return compare(self.table, seed=self.seed)
        chosen = HeldOut.joined([f.held_out for f in self.labels.values() if f.held_out])
        try:
            alone = compare(self.table, seed=self.seed)
        except FitError:  # the donors' rows alone are enough
            alone = {}
        return {**alone, "auto": chosen}

    @cached_property
    def families(self) -> list[Family]:
        """Families of the rows."""
        return families_of([m.workload for m in self.table.usable])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what ``--json`` prints."""
        return {
            "target": self.target.to_dict(),
            "methods": {name: _scores(scores) for name, scores in self.compared.items()},
            "labels": {label: self._label(label) for label in self.labels},
            "composition": self._composition(),
            "plots": [str(path) for path in self.plots],
        }

    def _label(self, label: str) -> dict[str, Any]:
        fitted = self.labels[label]
        scores = _scores(fitted.held_out) if fitted.held_out else {}
        steps = self.label_steps(label, self.families)
        donor = {"donor": fitted.donor.to_dict()} if fitted.donor is not None else {}
        return {"method": fitted.method, "rows": fitted.rows, "steps": steps, **donor, **scores}

    def _composition(self) -> dict[str, Any] | None:
        composition = self.composition
        if not composition.held_out:
            return None
        return {
            "models": len(composition.held_out),
            "mape": composition.mape,
            "uncalibrated_mape": composition.uncalibrated_mape,
            "factors": dict(composition.factors),
            "cache_bytes": composition.cache_bytes,
            "per_op_s": composition.per_op_s,
            "constant_s": composition.constant_s,
        }


def fit(
    table: str | Path | LatencyTable,
    *,
    method: str = "auto",
    donors: Sequence[str | Path | LatencyTable] | None = None,
    seed: int = 0,
    plots: str | Path | None = None,
    calibrate: str | None = None,
    variants: int = 12,
    seq: int | Sequence[int] = (),
    device: str = "local",
    on_step: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> Fit:
    """Fit a differentiable surrogate to a table: workloads in, seconds with intervals out.

    Args:
        table: latency table, or its path.
        method: ``auto``, ``tile``, ``gp``, ``blend``, ``linear``, ``pchip`` or ``cubic``.
        donors: tables of other targets, or their paths, whose fits are moved to this table's rows
            where that predicts held-out rows better; by default those that the table has.
        seed: of the folds that are held out.
        plots: folder to write pictures into.
        calibrate: calibrate with this MODEL first; see ``calibrate``, which takes ``variants``,
            ``seq``, ``device``, ``on_step`` and ``settings``. The table must be a path then.

    Returns:
        a Surrogate, for ``predict_model``, for ``Compressor``; and its errors.

    Raises:
        FitError: too few usable rows, or a method that does not fit them. TableError: see load.
        TargetMismatchError: a donor is of the table's own target.

    Warns:
        DonorWarning: a donor helps with no kind of op.

    Example:
        >>> surrogate = latprof.fit("local.parquet")                # doctest: +SKIP
        >>> surrogate.predict_model(workloads).latency_s            # doctest: +SKIP
        array(0.00412)
    """
    if calibrate is not None:
        from latprof.pipeline._calibrate import calibrate as measure_models  # torch

        models: dict[str, Any] = {"variants": variants, "seq": seq}
        models |= {"device": device, "on_step": on_step}
        rows = measure_models(table, calibrate, seed=seed, **models, **settings).table
    else:
        rows = loaded(table)
    others = None if donors is None else list(map(loaded, donors))
    surrogate = fit_table(rows, method=method, donors=others, seed=seed)
    pictures = plot_fit(surrogate, rows, Path(plots)) if plots is not None else []
    return Fit(**vars(surrogate), table=rows, seed=seed, plots=tuple(pictures))


def loaded(table: str | Path | LatencyTable) -> LatencyTable:
    """The table, read where it is a path."""
    return table if isinstance(table, LatencyTable) else LatencyTable.load(table)


def _scores(held_out: HeldOut | FitError) -> dict[str, Any]:
    if isinstance(held_out, FitError):
        return {"error": str(held_out)}
    return {
        "mape": held_out.mape,
        "within_10pct": held_out.within_10pct,
        "n_train": held_out.n_train,
        "n_test": len(held_out.rows),
    }
