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
from latprof.compress.methods import paper

#: The penalty is then about as large as the loss at the start, which is how the paper chooses it.
_PENALTY = 1.0

ABLATIONS = {
    "no_penalty": chosen_by(Masks(steered=False)),
    "no_projections": chosen_by(Masks(projections=False)),
    "knapsack": chosen_by(Masks(steered=False, optimizer="none")),
    "magnitude": chosen_by(Masks(importance="magnitude")),
    "paper_l1l2": chosen_by(paper(_PENALTY)),
    "paper_l1": chosen_by(paper(_PENALTY, count="l1")),
    "paper_no_clip": chosen_by(replace(paper(_PENALTY), clip=False)),
    "gradual_taylor": chosen_by(Gradual(score="taylor")),
    "gradual_magnitude": chosen_by(Gradual(score="magnitude")),
    "one_shot_taylor": chosen_by(OneShot(score="taylor")),
    "one_shot_magnitude": chosen_by(OneShot(score="magnitude")),
}

if __name__ == "__main__":
    versus.main(METHODS | ABLATIONS, ["latprof", *ABLATIONS])
