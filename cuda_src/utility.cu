// What timing needs besides the ops: data that is never zero, an empty L2, and a kernel of nothing.
#include "intrinsics.cuh"

__device__ __forceinline__ unsigned scrambled(unsigned long long x) {  // splitmix64
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return static_cast<unsigned>((x ^ (x >> 31)) >> 32);
}

// Uniform in [-scale, scale).
template <typename T>
__device__ __forceinline__ void fill(T* to, long long count, unsigned seed, float scale) {
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; i < count;
         i += step) {
        const unsigned long long key = (static_cast<unsigned long long>(seed) << 40) + i;
        to[i] = from_float<T>((static_cast<float>(scrambled(key) >> 8) * 0x1p-23f - 1.0f) * scale);
    }
}

extern "C" __global__ void fill_f32(float* to, long long count, unsigned seed, float scale) {
    fill(to, count, seed, scale);
}
extern "C" __global__ void fill_f16(half_t* to, long long count, unsigned seed, float scale) {
    fill(to, count, seed, scale);
}

// Reads ``count`` 16-byte words, so that L2 holds them and nothing else. It reads rather than
// writes: lines written would be written back while the next kernel is timed.
extern "C" __global__ void flush_l2(const uint4* from, long long count, uint4* sink) {
    const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    uint4 all = make_uint4(0u, 0u, 0u, 0u);
    for (long long i = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x; i < count;
         i += step) {
        const uint4 word = from[i];
        all = make_uint4(all.x ^ word.x, all.y ^ word.y, all.z ^ word.z, all.w ^ word.w);
    }
    // Practically never true, which the compiler cannot know: it must read.
    if ((all.x & all.y & all.z & all.w) == 0xffffffffu) *sink = all;
}

extern "C" __global__ void null_kernel() {}
