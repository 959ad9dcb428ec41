// CUDA's execution model on one host thread. A block's threads are fibres. Warps run in a random
// order, each as far ahead as the block's barriers let it, its threads in a random order from
// barrier to barrier: a missing barrier shows. Included before each kernel source.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static

struct __align__(16) uint4 { unsigned x, y, z, w; };
struct __align__(16) float4 { float x, y, z, w; };
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
struct Index { unsigned x, y, z; };
static Index gridDim, blockDim, blockIdx, threadIdx;

template <typename T> T __ldg(const T* p) { return *p; }
inline int min(int a, int b) { return a < b ? a : b; }
using std::fmaf;

namespace emulator {

enum Wait { RUNNING, AT_BLOCK, AT_WARP, DONE };
struct Fibre {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(128 << 10);
    Wait wait;
};
static std::vector<Fibre> fibres;
static std::vector<unsigned char> dynamic_shared;
static ucontext_t scheduler;
static unsigned current, live;
static const std::function<void()>* kernel;

static unsigned random_below(unsigned n) {
    static uint64_t state = 0x853c49e6748fea9bull;
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<unsigned>((state >> 33) % n);
}

static void enter() {
    (*kernel)();
    fibres[current].wait = DONE;
    swapcontext(&fibres[current].context, &scheduler);
}

static void wait(Wait what) {
    fibres[current].wait = what;
    swapcontext(&fibres[current].context, &scheduler);
}

// Runs the threads of a warp, in a random order, up to their next barrier; whether any could run.
static bool step_warp(unsigned first, unsigned last) {
    std::vector<unsigned> order;
    for (unsigned t = first; t < last; ++t)
        if (fibres[t].wait == RUNNING) order.push_back(t);
    for (unsigned i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_below(i)]);
    for (unsigned t : order) {
        current = t;
        threadIdx = {t, 0, 0};
        swapcontext(&scheduler, &fibres[t].context);
    }
    return !order.empty();
}

// Lets those of [first, last) go on who wait at a barrier that all of them have reached.
static void release(unsigned first, unsigned last, Wait barrier) {
    for (unsigned t = first; t < last; ++t)
        if (fibres[t].wait != barrier && fibres[t].wait != DONE) return;
    for (unsigned t = first; t < last; ++t)
        if (fibres[t].wait == barrier) fibres[t].wait = RUNNING;
}

static void run_block(size_t shared_bytes) {
    dynamic_shared.assign(shared_bytes + 16, 0xff);  // NaN, to every reader of what nobody wrote
    live = blockDim.x;
    if (fibres.size() < live) fibres = std::vector<Fibre>(live);
    for (unsigned t = 0; t < live; ++t) {
        Fibre& f = fibres[t];
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = f.stack.size();
        f.context.uc_link = nullptr;
        makecontext(&f.context, enter, 0);
        f.wait = RUNNING;
    }
    const unsigned warps = (live + 31) / 32;
    for (bool moved = true; moved;) {
        moved = false;
        const unsigned offset = random_below(warps);
        for (unsigned i = 0; i < warps; ++i) {
            const unsigned first = (i + offset) % warps * 32;
            const unsigned last = first + 32 < live ? first + 32 : live;
            while (step_warp(first, last)) {
                moved = true;
                release(first, last, AT_WARP);
            }
        }
        release(0, live, AT_BLOCK);
    }
    for (unsigned t = 0; t < live; ++t)
        if (fibres[t].wait != DONE) {
            std::fprintf(stderr, "emulator: a barrier that not every thread reaches\n");
            std::abort();
        }
}

template <typename... A, size_t... I>
std::function<void()>* bound(void (*f)(A...), void** p, std::index_sequence<I...>) {
    auto copy = std::make_tuple(*static_cast<std::decay_t<A>*>(p[I])...);
    return new std::function<void()>([f, copy] { std::apply(f, copy); });
}
// A launch names its arguments one by one, or gives them packed, each at its alignment.
template <typename... A>
std::function<void()>* bind(void (*f)(A...), void** p, char* packed, size_t bytes) {
    std::vector<void*> addresses;
    size_t at = 0;
    auto next = [&](size_t size, size_t alignment) {
        at = (at + alignment - 1) / alignment * alignment;
        addresses.push_back(packed + at);
        at += size;
    };
    if (packed) {
        (next(sizeof(std::decay_t<A>), alignof(std::decay_t<A>)), ...);
        if (at != bytes) return nullptr;
        p = addresses.data();
    }
    return bound(f, p, std::index_sequence_for<A...>{});
}

}  // namespace emulator

static void __syncthreads() { emulator::wait(emulator::AT_BLOCK); }
static void __syncwarp() { emulator::wait(emulator::AT_WARP); }

extern "C" void emulate(std::function<void()>* kernel, unsigned gx, unsigned gy, unsigned threads,
                        size_t shared_bytes) {
    emulator::kernel = kernel;
    gridDim = {gx, gy, 1};
    blockDim = {threads, 1, 1};
    for (unsigned y = 0; y < gy; ++y)
        for (unsigned x = 0; x < gx; ++x) {
            blockIdx = {x, y, 0};
            emulator::run_block(shared_bytes);
        }
}
