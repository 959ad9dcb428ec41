"""Pruning and few bits to a latency beside pruning alone: versus.py with one more method.

    python -P benchmarks/versus_bits.py FOLDER --bits 4 8 --models mobilenet_v3_small --budgets 50

``latprof_bits`` may also store the weights of linear layers in 4 or 8 bits where that is predicted
to save time. Its file is measured, and judged, since the runtime rounds the inputs of such layers.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import versus
from versus_methods import METHODS, Job, Thin, latprof

from latprof import Prune, Quantize


def latprof_bits(job: Job) -> Thin:
    deployment = replace(job.deployment, surrogate=job.surrogate, pack=True)
    blocks = (Prune(), Quantize(bits=(4, 8), grid="symmetric", scales="channel"))
    settings = replace(job.settings, blocks=blocks)
    thin = latprof(replace(job, deployment=deployment, settings=settings))
    return replace(thin, deployment=deployment)


if __name__ == "__main__":
    versus.main(METHODS | {"latprof_bits": latprof_bits}, ["latprof", "latprof_bits"])
