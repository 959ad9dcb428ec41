"""How near to the knee do searches come, and how often do they end below the floor? No training.

Curves of accuracy against progress, from the original (0) to the lowest that masks reach (1), of
which the knee is known: powers, exponentials, S-shapes, and S-shapes that first gain, as fine-tuned
networks do. A sample's accuracy is the curve's with normal noise, and its standard error is that of
the noise. A sample passes where its accuracy less one standard error is at or above the floor. An
answer is chosen as a search does: the deepest sample that passes by 1.28 standard errors; where
none does, the least deep that passes at all. It is wrong where the curve itself is below the floor
there.

    python benchmarks/search_curves.py [--curves 200] [--rows FILE]

``bisection`` halves the bracket, for comparison. With --rows each (searcher, noise, curve) is a
line of JSON in FILE, and a second run goes on where the first ended. The end is a table.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from _json_rows import append_row, read_rows

from latprof.pipeline.search import CHOICE_ERRORS, GP, Bracket, DrUcb
from latprof.pipeline.search.samplers import PROGRESS, Observed, describe_original, describe_sample

#: Standard deviation of a sample's accuracy: none, 30,000 and 1,000 rows at 97%, about.
NOISES = (0.0, 0.001, 0.003)
AFTER = (5, 10)
_RESULTS = Path(__file__).parent / "results" / "search_curves.jsonl"


@dataclass(frozen=True)
class Curve:
    """Accuracy along the way, less the floor.

    Args:
        kind: of its shape.
        knee: the deepest progress that keeps the floor; 1 where all do.
        excess: accuracy less the floor at a progress.
    """

    kind: str
    knee: float
    excess: Callable[[float], float]


def curve(number: int) -> Curve:
    """The curve of this number; the floor is 0.5 to 2 points below the original."""
    generator = np.random.default_rng(number)
    lost, wanted = float(generator.uniform(0.005, 0.02)), float(generator.uniform(0.15, 1.05))
    steep = float(generator.uniform(1.5, 8))
    width, gain = float(generator.uniform(0.03, 0.15)), float(generator.uniform(0.2, 1.0))

    def power(p: float) -> float:
        return float((p / wanted) ** steep)

    def exponential(p: float) -> float:
        return math.expm1(steep * p) / math.expm1(steep * wanted)

    def sigmoid(p: float) -> float:
        def at(x: float) -> float:
            return 1 / (1 + math.exp(-(x - wanted) / width)) - 1 / (1 + math.exp(wanted / width))

        return at(p) / at(wanted)

    def gaining(p: float) -> float:
        bump = gain * math.sin(math.pi * min(p / wanted, 1.0))
        return sigmoid(p) - bump

    shapes = {
        "power": power,
        "exponential": exponential,
        "sigmoid": sigmoid,
        "gaining": gaining,
    }
    kind = list(shapes)[number % len(shapes)]
    shape = shapes[kind]
    return Curve(kind, min(wanted, 1.0), lambda p: lost * (1 - shape(p)))


class Bisection(Bracket):
    """Halves the bracket always."""

    def next(
        self, points: list[Observed], busy: list[float], number: int, *, maximized: bool
    ) -> float:
        return super().next(points, busy, 1, maximized=maximized)


SEARCHERS: dict[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {
    "bracket": lambda samples, seed: Bracket(),
    "bisection": lambda samples, seed: Bisection(),
    "dr-ucb": lambda samples, seed: DrUcb(samples),
    "gp": lambda samples, seed: GP(seed),
}


def answers(searcher: str, noise: float, number: int) -> dict[str, Any]:
    """One search of one curve: gap to the knee and whether it is wrong, after 5 and 10 samples."""
    found = curve(number)
    row: dict[str, Any] = {"searcher": searcher, "noise": noise, "curve": number}
    row |= {"kind": found.kind, "knee": round(found.knee, 5)}
    for samples in AFTER:  # how many there will be is a setting of dr-ucb
        generator = np.random.default_rng([number, 7])
        study = optuna.create_study(sampler=SEARCHERS[searcher](samples, number))
        describe_original(study, Observed(0.0, found.excess(0.0), noise, 1.0))
        passing, sure = [], []
        for _ in range(samples):
            trial = study.ask()
            progress = trial.suggest_float(PROGRESS, 1e-3, 1.0)
            excess = found.excess(progress) + noise * float(generator.standard_normal())
            sample = Observed(progress, excess, noise, 1 - 0.8 * progress)
            describe_sample(trial, sample)
            study.tell(trial, sample.objective)
            if sample.margin >= 0:
                passing.append(progress)
            if excess - CHOICE_ERRORS * noise >= 0:
                sure.append(progress)
        deepest = max(sure) if sure else min(passing, default=0.0)
        row[f"gap_{samples}"] = round(abs(found.knee - deepest), 5)
        row[f"wrong_{samples}"] = found.excess(deepest) < -1e-12
    return row


def summary(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = [
        "| searcher | noise | gap after 5, median (mean) | after 10 | wrong after 5 | after 10 |",
        "|---|---|---|---|---|---|",
    ]
    for searcher in SEARCHERS:
        for noise in NOISES:
            part = [r for r in rows if (r["searcher"], r["noise"]) == (searcher, noise)]
            if not part:
                continue
            cells = []
            for samples in AFTER:
                gaps = [r[f"gap_{samples}"] for r in part]
                cells.append(f"{np.median(gaps):.3f} ({np.mean(gaps):.3f})")
            cells += [f"{np.mean([r[f'wrong_{samples}'] for r in part]):.1%}" for samples in AFTER]
            lines.append(f"| {searcher} | {noise:.1%} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=200)
    parser.add_argument("--gp-curves", type=int, default=30, help="of gp, which takes seconds each")
    parser.add_argument("--rows", type=Path, default=_RESULTS)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = read_rows(given.rows)
    known = {(r["searcher"], r["noise"], r["curve"]) for r in rows}
    for number in range(given.curves):
        for searcher in SEARCHERS:
            if searcher == "gp" and number >= given.gp_curves:
                continue
            for noise in NOISES:
                if (searcher, noise, number) not in known:
                    rows.append(answers(searcher, noise, number))
                    append_row(given.rows, rows[-1])
    print(summary(rows))


if __name__ == "__main__":
    main()
