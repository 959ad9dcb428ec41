// What C++ has no word for: halves, tensor cores, asynchronous copies. Written as PTX, so that a
// compiler without the toolkit's headers (NVRTC alone) will do.
#pragma once

typedef unsigned short half_t;  // the bits of an IEEE 754 half

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(half_t x) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x));
    return wide;
}

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) { return x; }
template <>
__device__ __forceinline__ half_t from_float<half_t>(float x) {
    half_t narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow) : "f"(x));
    return narrow;
}

// Dynamic shared memory, under a name, as bytes.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

__device__ __forceinline__ unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// ---- Tensor cores, sm_70 and up: 16x16x16 tiles of halves, row-major, in shared memory ----------

struct FragmentA { unsigned x[8]; };
struct FragmentB { unsigned x[8]; };
struct Accumulator { float x[8]; };

__device__ __forceinline__ void clear(Accumulator& c) {
#pragma unroll
    for (int i = 0; i < 8; ++i) c.x[i] = 0.0f;
}

__device__ __forceinline__ void load(FragmentA& a, const half_t* tile, int row_length) {
    asm volatile(
        "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%0,%1,%2,%3,%4,%5,%6,%7}, [%8], %9;"
        : "=r"(a.x[0]), "=r"(a.x[1]), "=r"(a.x[2]), "=r"(a.x[3]), "=r"(a.x[4]), "=r"(a.x[5]),
          "=r"(a.x[6]), "=r"(a.x[7])
        : "r"(shared_address(tile)), "r"(row_length)
        : "memory");
}

__device__ __forceinline__ void load(FragmentB& b, const half_t* tile, int row_length) {
    asm volatile(
        "wmma.load.b.sync.aligned.row.m16n16k16.shared.f16 {%0,%1,%2,%3,%4,%5,%6,%7}, [%8], %9;"
        : "=r"(b.x[0]), "=r"(b.x[1]), "=r"(b.x[2]), "=r"(b.x[3]), "=r"(b.x[4]), "=r"(b.x[5]),
          "=r"(b.x[6]), "=r"(b.x[7])
        : "r"(shared_address(tile)), "r"(row_length)
        : "memory");
}

__device__ __forceinline__ void multiply_add(Accumulator& c, const FragmentA& a,
                                             const FragmentB& b) {
    asm volatile(
        "wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32 {%0,%1,%2,%3,%4,%5,%6,%7}, "
        "{%8,%9,%10,%11,%12,%13,%14,%15}, {%16,%17,%18,%19,%20,%21,%22,%23}, "
        "{%0,%1,%2,%3,%4,%5,%6,%7};"
        : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3]), "+f"(c.x[4]), "+f"(c.x[5]),
          "+f"(c.x[6]), "+f"(c.x[7])
        : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(a.x[4]), "r"(a.x[5]),
          "r"(a.x[6]), "r"(a.x[7]), "r"(b.x[0]), "r"(b.x[1]), "r"(b.x[2]), "r"(b.x[3]),
          "r"(b.x[4]), "r"(b.x[5]), "r"(b.x[6]), "r"(b.x[7]));
}

__device__ __forceinline__ void store(float* tile, const Accumulator& c, int row_length) {
    asm volatile(
        "wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%8], {%0,%1,%2,%3,%4,%5,%6,%7}, %9;"
        :
        : "f"(c.x[0]), "f"(c.x[1]), "f"(c.x[2]), "f"(c.x[3]), "f"(c.x[4]), "f"(c.x[5]),
          "f"(c.x[6]), "f"(c.x[7]), "r"(shared_address(tile)), "r"(row_length)
        : "memory");
}

// ---- Asynchronous copies from global to shared memory, sm_80 and up -----------------------------

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define ASYNC_COPIES 1

// 16 bytes; zeros where not ``valid``.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void close_copies() { asm volatile("cp.async.commit_group;"); }
// Waits until at most ``LATER`` of the closed groups of this thread are still under way.
template <int LATER>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" : : "n"(LATER) : "memory");
}
#else
#define ASYNC_COPIES 0
#endif
