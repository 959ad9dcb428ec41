"""Two tables side by side: the same shapes, and by how much they differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latprof.errors import TableError
from latprof.tables._table import LatencyTable
from latprof.vocabulary import format_s, require
from latprof.workloads import Workload

__all__ = ["TableDiff", "diff", "plot_diff"]


@dataclass(frozen=True)
class TableDiff:
    """Args:
    workloads: in both tables, usable in both, (N,).
    a_s, b_s: their seconds, (N,).
    only_a, only_b: how many usable rows the other table has not.
    settings: fields of the target that differ: name -> (A's, B's).
    """

    workloads: tuple[Workload, ...]
    a_s: NDArray[np.float64]
    b_s: NDArray[np.float64]
    only_a: int
    only_b: int
    settings: dict[str, tuple[object, object]]

    @property
    def ratios(self) -> NDArray[np.float64]:
        """(N,) B / A."""
        return np.asarray(self.b_s / self.a_s)


def diff(a: LatencyTable, b: LatencyTable) -> TableDiff:
    """Compare usable rows shape by shape; the targets may differ.

    Raises:
        TableError: no shape is in both.
    """
    in_a = {m.workload: m.latency_s for m in a.usable}
    in_b = {m.workload: m.latency_s for m in b.usable}
    both = tuple(w for w in in_a if w in in_b)
    if not both:
        raise TableError(
            f"no shape is in both tables ({len(in_a)} and {len(in_b)} usable rows); "
            "profile the same model with the same seed to compare targets"
        )
    of_a, of_b = a.target.to_dict(), b.target.to_dict()
    return TableDiff(
        both,
        np.array([in_a[w] for w in both]),
        np.array([in_b[w] for w in both]),
        len(in_a) - len(both),
        len(in_b) - len(both),
        {k: (of_a[k], of_b[k]) for k in of_a if of_a[k] != of_b[k]},
    )


def plot_diff(compared: TableDiff, names: tuple[str, str], path: Path) -> Path:
    """B / A against A's latency, and how the ratios spread.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", extra="report", why="a plot of two tables")
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    labels = np.array([w.label for w in compared.workloads])
    for label in dict.fromkeys(labels):
        rows = labels == label
        left.scatter(compared.a_s[rows], compared.ratios[rows], s=14, alpha=0.7, label=label)
    left.set(xscale="log", yscale="log")
    left.set_xlabel(f"latency in {names[0]}", fontsize=8)
    left.set_ylabel(f"{names[1]} /\n{names[0]}", fontsize=8)
    left.xaxis.set_major_formatter(FuncFormatter(lambda s, _: format_s(s)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda r, _: f"{r:.3g}x"))
    left.yaxis.set_minor_formatter(FuncFormatter(lambda r, _: f"{r:.3g}x"))
    left.legend(fontsize="small", frameon=False)
    bins = np.geomspace(compared.ratios.min() * 0.999, compared.ratios.max() * 1.001, 30)
    right.hist(compared.ratios, bins=list(bins), orientation="horizontal", color="0.6")
    right.set_xlabel("shapes")
    for axes in (left, right):
        axes.axhline(1, color="0.3", lw=0.8)
        axes.axhline(float(np.median(compared.ratios)), color="C3", lw=0.8, ls="--")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{len(compared.ratios)} shapes in both; median ratio "
        f"{np.median(compared.ratios):.3f} (dashed)",
        fontsize="medium",
    )
    figure.savefig(path, dpi=150)
    return path
