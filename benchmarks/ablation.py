"""What each part of the default method is worth, and the paper's own: versus.py with its switches.

    python -P benchmarks/ablation.py FOLDER --models mobilenet_v3_small --budgets 40

All train for the same epochs and meet the same measured budget. Runs are resumable; see
versus.py for the arguments. Ablations as in figure 8 of Nasery et al.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import versus
from versus_methods import METHODS, chosen_by

from latprof import Gradual, Masks, OneShot
from latprof.compress import Method
from latprof.compress.methods import paper

#: Lambda, of the relative cost. The paper has its penalty about as large as the loss, which is 1
#: here; but in hundreds of steps that takes off only a quarter of the cost.
_PENALTY = 10.0
#: The masks' rate: at the paper's 0.001 they reach 0 in some thousands of steps, not in hundreds.
_RATE = 0.05
_PAPER = replace(paper(_PENALTY), lr=_RATE)
#: The default method with one part switched off, and the paper's.
ABLATED: dict[str, Masks] = {
    "no_penalty": Masks(steered=False),
    "no_projections": Masks(projections=False),
    "knapsack": Masks(steered=False, optimizer="none"),
    "magnitude": Masks(importance="magnitude"),
    "paper_l1l2": _PAPER,
    "paper_l1": replace(_PAPER, count="l1"),
    "paper_no_clip": replace(_PAPER, clip=False),
    "paper_rate": paper(1.0),
}
_SCORED: dict[str, Method] = {
    "gradual_taylor": Gradual(score="taylor"),
    "gradual_magnitude": Gradual(score="magnitude"),
    "one_shot_taylor": OneShot(score="taylor"),
    "one_shot_magnitude": OneShot(score="magnitude"),
}
ABLATIONS = {name: chosen_by(method) for name, method in (ABLATED | _SCORED).items()}

if __name__ == "__main__":
    versus.main(METHODS | ABLATIONS, ["latprof", *ABLATIONS])
