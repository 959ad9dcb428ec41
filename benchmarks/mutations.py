"""Damaged copies of every kind of file that latprof reads: is each read, or refused in one line?

Case number i changes, cuts, lengthens or ends the bytes of one whole file, as a random generator
seeded with i has it. A fault is an error other than latprof's own, a message of several lines, more
than 5 s of processor time, or, where the file has a checksum, contents that are not those written.

    python benchmarks/mutations.py [--cases 10000] [--rows FILE]

With --rows each case becomes a line of JSON in FILE; a second run goes on where the first ended,
and a case that ended the process is counted as a fault. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import random
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from support.damage import PLAIN_CSV, TELLING, TINYNAS, read_or_refused  # noqa: E402
from support.tables import OPS, TARGET, table_of  # noqa: E402

from latprof.compress import load_shrunk, workloads_of_file  # noqa: E402
from latprof.compress.export import load_check  # noqa: E402
from latprof.compress.train import load_state, save_state  # noqa: E402
from latprof.models import load_model, load_weights  # noqa: E402
from latprof.pipeline.run import RunFile  # noqa: E402
from latprof.tables import (  # noqa: E402
    LatencyTable,
    import_plain_csv,
    import_tinynas_trt,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from latprof.vocabulary import RunResult  # noqa: E402

_LIMIT_S = 5.0
#: Bytes that mean something to one format or another, among them a large count and deep nesting.
_TELLING = (*TELLING, b"\xff\xff\xff\x7f", b"[" * 5000)


class _HangError(BaseException):
    """Not a subclass of Exception, so that no reader turns it into a refusal."""


@dataclass(frozen=True)
class Reader:
    """One kind of file.

    Args:
        name: what the file is called, with its suffix.
        whole: the bytes of an undamaged one.
        read: gives its contents.
        checked: whether it has a checksum.
    """

    name: str
    whole: bytes
    read: Callable[[Path], Any]
    checked: bool = False


def mutated(data: bytes, generator: random.Random) -> bytes:
    """``data`` with one to three changes."""
    for _ in range(generator.randint(1, 3)):
        at = generator.randint(0, len(data))
        kind = generator.randrange(6)
        new = (
            generator.choice(_TELLING) if kind % 2 else generator.randbytes(generator.randint(1, 8))
        )
        if kind < 3:
            data = data[:at] + new + data[at + len(new) :]
        elif kind == 3:
            data = data[:at] + data[at + generator.randint(1, 64) :]
        elif kind == 4:
            data = data[:at] + new + data[at:]
        else:
            data = data[:at]
    return data


def readers(folder: Path) -> list[Reader]:
    """One of each, with the files of the tests."""
    onnx, tflite = _tests("compress/read/test_onnx.py"), _tests("compress/read/test_tflite.py")
    check = _tests("compress/export/test_check.py")
    recipe, result = (
        _tests("compress/shrink/test_recipe.py"),
        _tests("vocabulary/test_run_result.py"),
    )
    pt2, weights = _tests("models/test_pt2.py"), _tests("models/test_weights.py")
    table = table_of(OPS)
    state = {"step": 3, "weights": {"a": torch.arange(6.0).reshape(2, 3)}, "names": ["x", "y"]}
    save_state(folder / "state.ckpt", state)
    saved = {
        "table.parquet": table.save(folder / "t.parquet").read_bytes(),
        "table.csv": write_csv(table, folder / "t.csv").read_bytes(),
        "table.json": write_json(table, folder / "t.json").read_bytes(),
        "result.json": result.result().save(folder / "r.json").read_bytes(),
        "state.ckpt": (folder / "state.ckpt").read_bytes(),
        "RUN.toml": _RUN.encode(),
    }
    return [
        Reader("net.onnx", onnx.whole(), workloads_of_file),
        Reader("net.tflite", tflite.GOLDEN.read_bytes(), workloads_of_file),
        Reader("table.parquet", saved["table.parquet"], LatencyTable.load, True),
        Reader("table.csv", saved["table.csv"], read_csv),
        Reader("table.json", saved["table.json"], read_json),
        Reader("plain.csv", PLAIN_CSV, lambda p: import_plain_csv(p, TARGET)),
        Reader("conv_fp16.txt", TINYNAS, lambda p: import_tinynas_trt(p, TARGET)),
        Reader("net.check.npz", check.whole(), lambda p: load_check(p.with_name("net.onnx")), True),
        Reader(
            "recipe.json",
            json.dumps(recipe.RECIPE).encode(),
            lambda p: {k: v.shape for k, v in load_shrunk(recipe.Net(), p).state_dict().items()},
            True,
        ),
        Reader("result.json", saved["result.json"], RunResult.load, True),
        Reader("state.ckpt", saved["state.ckpt"], load_state, True),
        Reader("RUN.toml", saved["RUN.toml"], RunFile.load),
        Reader("w.pt", weights.whole(), lambda p: load_weights(weights.net(), p)),
        Reader("net.pt2", pt2.whole(), lambda p: load_model(str(p))),
    ]


def outcome(reader: Reader, path: Path, data: bytes, written: Any) -> str:
    """``read``, ``refused``, or the fault."""
    path.write_bytes(data)
    signal.setitimer(signal.ITIMER_PROF, _LIMIT_S)
    try:
        refused = True

        def read() -> Any:
            nonlocal refused
            found = reader.read(path)
            refused = False
            return found

        found = read_or_refused(read)
    except _HangError:
        return f"hang: more than {_LIMIT_S:.0f} s"
    except Exception as exc:  # noqa: BLE001  each is a fault, which this benchmark is there to find
        return f"traceback: {type(exc).__name__}: {str(exc)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if refused:
        return "refused"
    return "silent difference" if reader.checked and not alike(found, written) else "read"


def alike(a: Any, b: Any) -> bool:
    """Whether two contents are the same, NaN equal to NaN."""
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and alike(_fields(a), _fields(b))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, torch.Tensor | np.ndarray):
        return np.array_equal(
            np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f"
        )
    return bool(a == b or (a != a and b != b))


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _tests(name: str) -> Any:
    """A module of the tests, for the files that it makes."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, TESTS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _too_long(*_: object) -> None:
    raise _HangError


_RUN = """model = "zoo:mobilenet_v3_small"
data = "cifar10"
table = "phone.parquet"
out = "run"
budget = "5 ms"

[fine_tune]
epochs = 2

[prune]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--rows", type=Path, metavar="FILE", help="JSON lines; resumes")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _too_long)
    rows: dict[int, dict[str, Any]] = {}
    if options.rows and options.rows.exists():
        for line in options.rows.read_text().splitlines():
            row = json.loads(line)
            rows[row["case"]] = row
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = readers(folder)
        written = {}
        for reader in known:
            path = folder / reader.name
            path.write_bytes(reader.whole)
            written[reader.name] = reader.read(path)  # an undamaged one is no refusal
        log = options.rows.open("a") if options.rows else None
        for case in range(options.cases):
            if case in rows:
                continue
            reader = known[case % len(known)]
            rows[case] = {"case": case, "file": reader.name, "outcome": "ended the process"}
            if log:  # what a crash leaves
                log.write(json.dumps(rows[case]) + "\n")
                log.flush()
            data = mutated(reader.whole, random.Random(case))
            rows[case]["outcome"] = outcome(
                reader, folder / reader.name, data, written[reader.name]
            )
            if log:
                log.write(json.dumps(rows[case]) + "\n")
        if log:
            log.close()
    print(json.dumps(_figures(list(rows.values()))))


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    files: dict[str, Counter[str]] = {}
    for row in rows:
        files.setdefault(row["file"], Counter())[row["outcome"].partition(":")[0]] += 1
    faults = [r for r in rows if r["outcome"] not in ("read", "refused")]
    return {
        "benchmark": "mutations",
        "cases": len(rows),
        "limit_s": _LIMIT_S,
        "files": {name: dict(found) for name, found in files.items()},
        "faults": faults,
        "passed": not faults,
    }


if __name__ == "__main__":
    main()
