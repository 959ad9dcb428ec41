"""Pictures of a fit: staircases, heat maps, held-out errors, whole models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latprof.surrogate._shapes import Floats
from latprof.surrogate._surrogate import Surrogate
from latprof.tables import Family, LatencyTable, families_of, family_text
from latprof.vocabulary import format_s, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_fit"]

_INK, _FIT, _POINT = "#1f2430", "#2f6fb5", "#d9622b"

#: Counts along a staircase at most.
_MAX_COUNTS = 8192

#: Pixels per axis of a heat map, about.
_PIXELS = 160

#: Rows whose other count is within this factor of the staircase's are drawn on it.
_NEAR = 1.35


def plot_fit(surrogate: Surrogate, table: LatencyTable, folder: str | Path) -> list[Path]:
    """Write the pictures of this fit as PNG files into ``folder``; returns their paths.

    ``staircases`` shows latency against channels with the fit and its 90% band; ``heat_maps`` the
    speed over both channel axes; ``held_out`` predicted against measured for rows the fit had not
    seen; ``models`` the same for whole models, where the table has them.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", extra="report", why="a picture of the fit")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        "staircases": _staircases(surrogate, table),
        "heat_maps": _heat_maps(surrogate, table),
        "held_out": _held_out(surrogate),
        "models": _models(surrogate),
    }
    paths = []
    for name, figure in pictures.items():
        if figure is not None:
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=150)
    return paths


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _panels(n: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of n axes, in one row where they are few."""
    columns = n if n <= 3 else 2
    rows = -(-n // columns)
    figure = _figure(width * columns, height * rows)
    every = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for spare in every[n:]:
        spare.remove()
    return figure, every[:n]


def _widest(table: LatencyTable, most: int) -> list[Family]:
    """The families with most rows: those a picture says something of."""
    families = families_of([m.workload for m in table.usable])
    return sorted(families, key=lambda f: -f.count)[:most]


def _staircases(surrogate: Surrogate, table: LatencyTable) -> Figure | None:
    families = [f for f in _widest(table, 6) if f.count >= 3]
    if not families:
        return None
    figure, panels = _panels(len(families), 6.2, 3.1)
    for axes, family in zip(panels, families, strict=True):
        _staircase(axes, surrogate, table, family)
    figure.suptitle(f"Latency by channels: {surrogate.target}", fontsize=10, color=_INK)
    return figure


def _staircase(axes: Axes, surrogate: Surrogate, table: LatencyTable, family: Family) -> None:
    rows = [m for m in table.usable if m.workload.family == family.member.family]
    counts = np.array([m.workload.channels for m in rows], dtype=float)
    latency_s = np.array([m.latency_s for m in rows])
    c_out = np.unique(np.linspace(1, family.c_out, min(family.c_out, _MAX_COUNTS)).round())
    fixed = c_out if family.tied else np.full_like(c_out, family.c_in)
    fit_s, low_s, high_s = surrogate.interval_at(family.member, fixed, c_out)
    axes.fill_between(c_out, low_s, high_s, color=_FIT, alpha=0.18, lw=0, label="90% interval")
    axes.step(c_out, fit_s, where="mid", color=_FIT, lw=1.4, label="fit")
    near = family.tied | (counts[:, 0] * _NEAR >= family.c_in)
    if near.any():
        # Rows beside the line are moved onto it: the fit there, times the row's own error.
        moved = surrogate.at(
            family.member, np.full(near.sum(), float(family.c_in)), counts[near, 1]
        )
        own = surrogate.at(family.member, counts[near, 0], counts[near, 1])
        if family.tied:
            moved = own
        axes.plot(counts[near, 1], latency_s[near] / own * moved, "o", ms=3.5, color=_POINT,
                  mec="white", mew=0.4, label="measured")  # fmt: skip
    along = "channels" if family.tied else f"output channels, from {family.c_in}"
    axes.set_title(family_text(family.member), fontsize=9, loc="left", color=_INK)
    axes.set_xlabel(along, fontsize=8)
    axes.set_xlim(0, family.c_out * 1.01)
    axes.set_ylim(0, max(high_s.max(), 1e-9) * 1.05)
    _seconds(axes.yaxis)
    _plain(axes)
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def _heat_maps(surrogate: Surrogate, table: LatencyTable) -> Figure | None:
    families = [f for f in _widest(table, 8) if not f.tied and f.count >= 8][:4]
    if not families:
        return None
    figure, panels = _panels(len(families), 5.6, 4.3)
    for axes, family in zip(panels, families, strict=True):
        c_in, c_out = _every(family.c_in, family.step), _every(family.c_out, family.step)
        pairs = np.stack(np.meshgrid(c_in, c_out, indexing="ij"), -1).reshape(-1, 2)
        seconds = surrogate.at(family.member, pairs[:, 0], pairs[:, 1])
        per_pair = family.largest.macs / (family.c_in * family.c_out)
        speed = (pairs.prod(axis=1) * per_pair / seconds / 1e9).reshape(len(c_in), len(c_out))
        shown = axes.pcolormesh(c_out, c_in, speed, cmap="viridis", shading="nearest",
                                rasterized=True)  # fmt: skip
        figure.colorbar(shown, ax=axes, label="GMAC/s", pad=0.02)
        counts = np.array([m.workload.channels for m in table.usable
                           if m.workload.family == family.member.family])  # fmt: skip
        axes.plot(counts[:, 1], counts[:, 0], ".", ms=3, color="white", alpha=0.8)
        axes.set_title(family_text(family.member), fontsize=9, loc="left", color=_INK)
        axes.set_xlabel("output channels", fontsize=8)
        axes.set_ylabel("input channels", fontsize=8)
        axes.set(xlim=(c_out[0], c_out[-1]), ylim=(c_in[0], c_in[-1]))
        axes.tick_params(labelsize=7)
    figure.suptitle(
        "Speed by channels, as fitted; dots are measured shapes", fontsize=10, color=_INK
    )
    return figure


def _every(limit: int, step: int) -> Floats:
    """Counts up to the limit, each where they are few. Where they are many, whole blocks: uneven
    strides would draw a pattern that beats with the law's own."""
    stride = next((s for s in (1, 4, 8, 16) if limit <= _PIXELS * s), -(-limit // _PIXELS))
    return np.arange(max(stride, step), limit + 1, max(stride, step), dtype=float)


def _held_out(surrogate: Surrogate) -> Figure | None:
    scored = {k: f.held_out for k, f in surrogate.labels.items() if f.held_out is not None}
    if not scored:
        return None
    figure = _figure(10.5, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    colors = _colors(len(scored))
    every = np.concatenate([h.latency_s for h in scored.values()])
    for (label, held_out), color in zip(scored.items(), colors, strict=True):
        style: dict[str, Any] = {"s": 12, "alpha": 0.75, "color": color, "lw": 0}
        left.scatter(held_out.latency_s, held_out.predicted_s, label=label, **style)
        right.scatter(held_out.latency_s, 100 * held_out.errors, **style)
    _agreement(left, every)
    right.axhspan(-10, 10, color="0.5", alpha=0.12, lw=0)
    right.axhline(0, color="0.3", lw=0.8)
    right.set(xscale="log")
    right.set_xlabel("measured", fontsize=8)
    right.set_ylabel("error of the prediction, %", fontsize=8)
    _seconds(right.xaxis)
    _plain(right)
    errors = np.concatenate([h.errors for h in scored.values()])
    right.set_title(f"MAPE {np.abs(errors).mean():.1%}, {(np.abs(errors) <= 0.1).mean():.0%} of "
                    "shapes within 10% (grey)", fontsize=9, loc="left", color=_INK)  # fmt: skip
    left.set_title("Held-out shapes, each predicted without it", fontsize=9, loc="left", color=_INK)
    left.legend(fontsize=7, frameon=False, loc="upper left")
    return figure


def _models(surrogate: Surrogate) -> Figure | None:
    pairs = np.array(surrogate.composition.held_out)
    if not len(pairs):
        return None
    figure = _figure(4.8, 4.4)
    axes = figure.subplots()
    axes.scatter(pairs[:, 1], pairs[:, 0], s=18, color=_POINT, lw=0)
    _agreement(axes, pairs[:, 1])
    mape = np.abs(pairs[:, 0] / pairs[:, 1] - 1).mean()
    axes.set_title(f"{len(pairs)} whole models, each predicted without it: MAPE {mape:.1%}",
                   fontsize=9, loc="left", color=_INK)  # fmt: skip
    return figure


def _agreement(axes: Axes, latency_s: Floats) -> None:
    """Predicted against measured on equal log axes, with the line and its 10% band."""
    ends = np.array([latency_s.min() / 1.3, latency_s.max() * 1.3])
    axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color="0.5", alpha=0.12, lw=0)
    axes.plot(ends, ends, color="0.3", lw=0.8)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    axes.set_xlabel("measured", fontsize=8)
    axes.set_ylabel("predicted", fontsize=8)
    _seconds(axes.xaxis)
    _seconds(axes.yaxis)
    _plain(axes)


def _seconds(axis: Any) -> None:
    """Label in seconds; where a log axis spans few powers of ten, between them too."""
    from matplotlib import ticker

    def text(seconds: float, _: int) -> str:
        return "0" if seconds == 0 else format_s(seconds).replace(".00", "").replace(".0 ", " ")

    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        if high < 3 * low:
            axis.set_major_locator(ticker.MaxNLocator(5))
        elif high < 100 * low:
            axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_major_formatter(ticker.FuncFormatter(text))


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25, lw=0.5)


def _colors(n: int) -> Sequence[Any]:
    import matplotlib

    return [matplotlib.colormaps["tab20"](i % 20) for i in range(n)]
