"""What encodings of a weight cost: bytes of a TFLite file, and time of a call in LiteRT.

    python -P benchmarks/packed_tflite.py --rounds 200

One 3x3 convolution of 256 to 256 channels on 14x14, one thread; calls of all files in turns, each
round in another order; medians, relative to the float32 file. int4 is what packing does not use.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from latprof import Conv2d
from latprof.compress.export import pack_tflite, save_tflite

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from _in_turns import medians_in_turns
from support.tflite_weights import with_weights

_CONV = Conv2d(14, 14, 256, 256, kernel=3)
_INT4, _HALF_BYTE = 17, 15
_STEP = np.float32(0.0137)
_GENERATOR = np.random.default_rng(0)


def _codes(low: int, high: int, scales: bool = False, kept: float = 1.0) -> Callable[..., Any]:
    def make(shape: tuple[int, ...]) -> NDArray[Any]:
        step = _STEP * (1 + np.arange(shape[0]).reshape(-1, 1, 1, 1) * scales).astype("f")
        return _GENERATOR.integers(low, high, shape) * step * (_GENERATOR.random(shape) < kept)

    return make


def _normal(shape: tuple[int, ...]) -> NDArray[Any]:
    return _GENERATOR.standard_normal(shape).astype(np.float16)


def _thinned(shape: tuple[int, ...]) -> NDArray[Any]:
    return _GENERATOR.standard_normal(shape) * (_GENERATOR.random(shape) < 0.1)


_WEIGHTS: dict[str, Callable[..., Any]] = {
    "float16": _normal,
    "8-bit codes, one scale": _codes(-127, 128),
    "8-bit codes, a scale per channel": _codes(-127, 128, scales=True),
    "90% zeros": _thinned,
    "90% zeros, 8-bit codes": _codes(-127, 128, kept=0.1),
}


def _as_int4(path: Path) -> None:
    """Halve the codes of a packed file, which are of 4 bits."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    (tensor,) = (t for t in model.subgraphs[0].tensors if t.name.endswith(b"~"))
    codes = np.asarray(model.buffers[tensor.buffer].data, np.uint8) & _HALF_BYTE
    model.buffers[tensor.buffer].data = codes[0::2] | (codes[1::2] << 4)
    tensor.type = _INT4
    save_tflite(model, path)


def _files(folder: Path) -> dict[str, Path]:
    plain = folder / "float32.tflite"
    with_weights(plain, _CONV, _normal)
    files = {"float32": plain}
    for name, make in _WEIGHTS.items():
        files[name] = folder / f"{len(files)}.tflite"
        with_weights(files[name], _CONV, make)
        pack_tflite(files[name])
    files["int4, not packed so"] = folder / "int4.tflite"
    with_weights(files["int4, not packed so"], _CONV, _codes(-7, 8))
    pack_tflite(files["int4, not packed so"])
    _as_int4(files["int4, not packed so"])
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        files = {name: path.read_bytes() for name, path in _files(Path(folder)).items()}
    nets = {name: Interpreter(model_content=file, num_threads=1) for name, file in files.items()}
    for net in nets.values():
        net.allocate_tensors()
    medians = medians_in_turns({name: net.invoke for name, net in nets.items()}, rounds)
    for name, file in files.items():
        print(f"{name:35} {len(file) / 1e6:6.2f} MB {medians[name] / medians['float32']:6.2f}")


if __name__ == "__main__":
    main()
