"""What the runs of versus.py amount to: means, intervals, budget hits, and the figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

__all__ = ["WHOLE", "report"]

_COLOURS = {
    "latprof": "#1f77b4",
    "flops": "#2c8a4b",
    "uniform": "#d98032",
    "torch_pruning": "#8a4fa3",
    "whole": "#4c5a67",
    "from_file": "#b03a5b",
}
#: The budget, in percent, of networks of which nothing is removed.
WHOLE = 100
#: A wider neighbour counts as faster where it is by more than single ops repeat.
_NOISE = 0.03

Row = dict[str, Any]


def report(rows: Sequence[Row], folder: Path) -> dict[str, Any]:
    """One group per scale (images, epochs, learning rate); figures land in the folder."""
    scales: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        scales[str(row["settings"])].append(row)
    return {
        "benchmark": "versus",
        "scales": [_scale(number, some, folder) for number, some in enumerate(scales.values())],
    }


def _scale(number: int, rows: list[Row], folder: Path) -> dict[str, Any]:
    _draw(rows, folder / f"versus-{number}.png")
    thin = [r for r in rows if r["budget"] < WHOLE]
    return {
        "settings": rows[0]["settings"],
        "runs": len(rows),
        "cells": _cells(rows),
        "budget": {m: _hits([r for r in thin if r["method"] == m]) for m in _methods(thin)},
        "neighbours": _neighbours(rows),
    }


def _methods(rows: Sequence[Row]) -> list[str]:
    found = {r["method"] for r in rows}
    return [m for m in _COLOURS if m in found] + sorted(found - set(_COLOURS))


def _cells(rows: Sequence[Row]) -> list[dict[str, Any]]:
    cells: dict[tuple[str, int], dict[str, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        cells[row["model"], row["budget"]][row["method"]][row["seed"]] = row
    out = []
    for (model, budget), methods in sorted(cells.items()):
        ours = methods.get("latprof", {})
        cell: dict[str, Any] = {"model": model, "budget": budget}
        for name, by_seed in methods.items():
            some = list(by_seed.values())
            both = sorted(ours.keys() & by_seed.keys()) if name != "latprof" else []
            cell[name] = {
                "seeds": sorted(by_seed),
                "accuracy": _interval([r["accuracy"] for r in some]),
                "held_out_accuracy": _interval([r["held_out_accuracy"] for r in some]),
                "share_of_original_s": _interval([r["latency_s"] / r["original_s"] for r in some]),
                "macs": _interval([r["macs"] for r in some]),
            }
            if both:
                gains = [ours[s]["accuracy"] - by_seed[s]["accuracy"] for s in both]
                cell[name]["latprof_gains"] = _interval(gains)
        cell["original_accuracy"] = _interval(
            list(
                {
                    r["seed"]: r["original_accuracy"] for m in methods.values() for r in m.values()
                }.values()
            )
        )
        out.append(cell)
    return out


def _interval(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean and half-width of its 95% t interval; None from one value."""
    n = len(values)
    half = None
    if n > 1:
        half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return {"mean": float(np.mean(values)), "half_95": half, "n": n}


def _hits(rows: Sequence[Row]) -> dict[str, Any]:
    shares = np.array([r["share_of_budget"] for r in rows])
    # Both as shares of the original, for the table was measured on another day.
    measured = np.array([r["latency_s"] / r["original_s"] for r in rows])
    predicted = np.array([r["predicted_s"] / r["original_predicted_s"] for r in rows])
    return {
        "runs": len(rows),
        "within_budget": float((shares <= 1).mean()),
        "at_least_95pct_of_budget": float((shares >= 0.95).mean()),
        "share_of_budget_min": float(shares.min()),
        "share_of_budget_max": float(shares.max()),
        "prediction_mape": float(np.abs(predicted / measured - 1).mean()),
    }


def _neighbours(rows: Sequence[Row]) -> dict[str, Any]:
    """Layers alone, and groups: all layers that a count of channels decides on, added up."""
    found = [(n, p) for n, r in enumerate(rows) for p in r.get("neighbours", ())]
    groups: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for number, pair in found:
        groups[number, pair["group"]].append(pair)
    whole = [
        {key: sum(p[key] for p in pairs) for key in ("latency_s", "wider_s")} | {"group": name}
        for (_, name), pairs in groups.items()
        if all(p["usable"] for p in pairs)
    ]
    return {
        "noise": _NOISE,
        "layers": _faster([p for _, p in found if p["usable"]]),
        "groups": _faster(whole),
        "layers_not_timed": sum(not p["usable"] for _, p in found),
    }


def _faster(pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    faster = [p for p in pairs if p["wider_s"] < (1 - _NOISE) * p["latency_s"]]
    worst = sorted(faster, key=lambda p: p["wider_s"] / p["latency_s"])[:5]
    return {"timed": len(pairs), "wider_is_faster": len(faster), "worst": worst}


def _draw(rows: Sequence[Row], path: Path) -> None:
    models = sorted({r["model"] for r in rows})
    figure = Figure(figsize=(6.4 * len(models), 4.4), layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        mine = [r for r in rows if r["model"] == model]
        for method in _methods(mine):
            points = [r for r in mine if r["method"] == method]
            colour = _COLOURS.get(method)
            x = [100 * r["latency_s"] / r["original_s"] for r in points]
            y = [100 * r["accuracy"] for r in points]
            axes.scatter(x, y, s=18, alpha=0.5, color=colour)
            budgets = sorted({r["budget"] for r in points})
            at = [[i for i, r in enumerate(points) if r["budget"] == b] for b in budgets]
            axes.plot(
                [np.mean([x[i] for i in some]) for some in at],
                [np.mean([y[i] for i in some]) for some in at],
                "o-",
                color=colour,
                label=method.replace("_", "-"),
            )
        originals = {r["seed"]: 100 * r["original_accuracy"] for r in mine}
        axes.scatter(
            [100] * len(originals),
            list(originals.values()),
            marker="*",
            color=_COLOURS["whole"],
            label="original",
        )
        for budget in sorted({r["budget"] for r in mine} - {WHOLE}):
            axes.axvline(budget, color="#b03a2e", linestyle="--", linewidth=0.8)
        axes.set_title(model)
        axes.set_xlabel("measured latency (% of the original)")
        axes.set_ylabel("test accuracy (%)")
        axes.grid(alpha=0.3)
    labelled = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        labelled.values(), labelled.keys(), loc="outside lower center", ncols=3, frameon=False
    )
    figure.savefig(path, dpi=150)
