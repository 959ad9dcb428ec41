"""The laws of ``Gpu``, each a function of one; run in a child, which finds the driver as it starts.

python gpu_laws.py DRIVER LAW
"""

from __future__ import annotations

import ctypes
import json
import sys
import traceback

import numpy as np
import pytest

from latprof.cuda_src import SOURCES
from latprof.devices.agent.cuda._compiler import choose, find_compilers
from latprof.devices.agent.cuda._driver import CudaError
from latprof.devices.agent.cuda._gpu import Buffer, Gpu, Kernel
from latprof.devices.agent.cuda._open import open_gpu
from latprof.devices.agent.runtimes._base import Lost, NoDevice

COUNT = 1000  # floats, no whole number of blocks


def code_of(gpu: Gpu) -> bytes:
    compiler, architecture = choose(find_compilers(), gpu.info.capability, gpu.info.name)
    return compiler.compile(SOURCES, "utility.cu", architecture)


def launch(kernel: Kernel, buffer: Buffer, seed: int) -> None:
    """fill_f32: random values by seed."""
    arguments = (
        ctypes.c_void_p(buffer.pointer), ctypes.c_longlong(COUNT), ctypes.c_uint(seed),
        ctypes.c_float(1.0),
    )  # fmt: skip
    kernel((2, 1), 64, 0, arguments)


def filled(gpu: Gpu, seed: int) -> bytes:
    """What fill_f32 leaves for a seed."""
    buffer = gpu.allocate(4 * COUNT)
    launch(gpu.load(code_of(gpu)).kernel("fill_f32"), buffer, seed)
    gpu.wait()
    return buffer.download()


def a_buffer_holds_what_was_uploaded(gpu: Gpu) -> None:
    for size in (1, 12, 4096):
        buffer, data = gpu.allocate(size), np.random.default_rng(size).bytes(size)
        buffer.upload(data)
        assert buffer.download() == data
        assert buffer.size == size
        with pytest.raises(CudaError, match=f"{size + 1} bytes for a buffer of {size}"):
            buffer.upload(data + b"x")


def buffers_lie_apart(gpu: Gpu) -> None:
    one, other = gpu.allocate(64), gpu.allocate(64)
    one.upload(b"1" * 64)
    other.upload(b"2" * 64)
    assert (one.download(), other.download()) == (b"1" * 64, b"2" * 64)


def a_kernel_writes_what_its_arguments_say(gpu: Gpu) -> None:
    values = np.frombuffer(filled(gpu, 1), np.float32)
    assert np.isfinite(values).all()
    assert values.std() > 0.3
    assert abs(values).max() <= 1
    assert filled(gpu, 1) == values.tobytes()
    assert filled(gpu, 2) != values.tobytes()


def work_is_done_in_order(gpu: Gpu) -> None:
    buffer, kernel = gpu.allocate(4 * COUNT), gpu.load(code_of(gpu)).kernel("fill_f32")
    for seed in (1, 2, 3):
        launch(kernel, buffer, seed)
    gpu.wait()
    assert buffer.download() == filled(gpu, 3)


def captured_work_waits_for_its_replay(gpu: Gpu) -> None:
    buffer, kernel = gpu.allocate(4 * COUNT), gpu.load(code_of(gpu)).kernel("fill_f32")
    nothing = b"\0" * 4 * COUNT
    buffer.upload(nothing)

    def work() -> None:
        launch(kernel, buffer, 1)
        launch(kernel, buffer, 2)

    replay = gpu.capture(work)
    gpu.wait()
    assert buffer.download() == nothing
    for _ in range(3):
        buffer.upload(nothing)
        replay()
        gpu.wait()
        assert buffer.download() == filled(gpu, 2)


def a_failed_capture_leaves_the_stream_usable(gpu: Gpu) -> None:
    def fails() -> None:
        raise ValueError("work of a caller")

    with pytest.raises(ValueError, match="work of a caller"):
        gpu.capture(fails)
    a_kernel_writes_what_its_arguments_say(gpu)


def events_tell_the_time_between_them(gpu: Gpu) -> None:
    buffer, kernel = gpu.allocate(4 * COUNT), gpu.load(code_of(gpu)).kernel("fill_f32")
    launch(kernel, buffer, 0)  # the first launch loads
    before, middle, after = gpu.event(), gpu.event(), gpu.event()
    before.record()
    launch(kernel, buffer, 1)
    middle.record()
    for seed in range(20):
        launch(kernel, buffer, seed)
    after.record()
    assert 0 < middle.seconds_since(before) < after.seconds_since(before) < 10


def a_refused_call_leaves_the_gpu_usable(gpu: Gpu) -> None:
    with pytest.raises(CudaError, match="cuMemAlloc"):
        gpu.allocate(1 << 60)
    module = gpu.load(code_of(gpu))
    with pytest.raises(CudaError, match="cuModuleGetFunction"):
        module.kernel("no_such_kernel")
    with pytest.raises(CudaError, match="cuLaunchKernel"):
        module.kernel("null_kernel")((1, 1), 4096, 0, ())
    with pytest.raises(NoDevice, match="does not load the kernels"):
        gpu.load(b"not machine code at all" * 8)
    a_kernel_writes_what_its_arguments_say(gpu)


def much_shared_memory_is_asked_for(gpu: Gpu) -> None:
    module, shared = gpu.load(code_of(gpu)), gpu.info.shared_bytes
    module.kernel("null_kernel", shared)((1, 1), 32, shared, ())
    with pytest.raises(CudaError, match="cuFuncSetAttribute"):
        module.kernel("null_kernel", 1 << 30)
    gpu.wait()


def two_gpu_objects_share_the_context(gpu: Gpu) -> None:
    other = open_gpu(gpu.info.index, sys.argv[1])
    buffer = other.allocate(4 * COUNT)
    launch(gpu.load(code_of(gpu)).kernel("fill_f32"), buffer, 5)
    gpu.wait()
    assert buffer.download() == filled(other, 5)


LAWS = {
    law.__name__: law
    for law in (
        a_buffer_holds_what_was_uploaded,
        buffers_lie_apart,
        a_kernel_writes_what_its_arguments_say,
        work_is_done_in_order,
        captured_work_waits_for_its_replay,
        a_failed_capture_leaves_the_stream_usable,
        events_tell_the_time_between_them,
        a_refused_call_leaves_the_gpu_usable,
        much_shared_memory_is_asked_for,
        two_gpu_objects_share_the_context,
    )
}


def a_lost_context_is_named(gpu: Gpu) -> None:
    """Only the stand-in loses it, when set to (STANDIN_SYNC=700)."""
    event = gpu.event()
    event.record()
    with pytest.raises(Lost, match="cuEventSynchronize"):
        event.seconds_since(event)


def judge(driver: str, laws: list[str]) -> dict[str, str]:
    gpu = open_gpu(0, driver)
    outcomes = {"driven_by": gpu.driven_by}
    for name in laws or LAWS:
        outcomes[name] = ""
        try:
            globals()[name](gpu)
        except Exception:  # noqa: BLE001  the test that reads it fails with it
            outcomes[name] = traceback.format_exc()
    return outcomes


if __name__ == "__main__":
    print(json.dumps(judge(sys.argv[1], sys.argv[2:])))
