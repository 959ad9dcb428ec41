"""Dense grids for people who want arrays."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from latprof.errors import TableError
from latprof.tables._rows import header
from latprof.tables._table import LatencyTable
from latprof.vocabulary import replace_file

__all__ = ["write_npz"]

#: The most cells of a dense grid: 80 MB.
_MAX_CELLS = 10_000_000


def write_npz(table: LatencyTable, path: Path) -> Path:
    """One dense grid per family, for ``numpy.load(path, allow_pickle=False)``.

    ``header`` is the table's JSON; ``families`` (F,) their names; for family i, ``c_in_i`` (I,)
    and ``c_out_i`` (O,) are the counts that were measured and ``latency_s_i`` (I, O) the seconds,
    NaN where a pair was not measured. A family with one channel axis has I = 1 and c_in_i = [0].

    Raises:
        TableError: the rows of a family are so scattered that its grid would fill the memory.
    """
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
        "header": np.array(json.dumps(header(table)))
    }
    families = list(dict.fromkeys(m.workload.family for m in table.usable))
    arrays["families"] = np.array(families)
    for number, family in enumerate(families):
        rows = [m for m in table.usable if m.workload.family == family]
        pairs = np.array([(0 if m.workload.tied else m.workload.channels[0], m.workload.channels[1])
                          for m in rows])  # fmt: skip
        c_in, i = np.unique(pairs[:, 0], return_inverse=True)
        c_out, o = np.unique(pairs[:, 1], return_inverse=True)
        if len(c_in) * len(c_out) > _MAX_CELLS:
            raise TableError(
                f"{family}: {len(rows)} scattered rows would make a grid of {len(c_in)} x "
                f"{len(c_out)} cells; export to .csv or .json instead"
            )
        grid = np.full((len(c_in), len(c_out)), np.nan)
        grid[i, o] = [m.latency_s for m in rows]
        arrays |= {f"c_in_{number}": c_in, f"c_out_{number}": c_out, f"latency_s_{number}": grid}
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **arrays)
    return replace_file(path, out.getvalue())
