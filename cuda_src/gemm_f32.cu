// Matrix product in float32, on the plain cores.
//
// A block makes a BM x BN tile of C; each warp 32 x 64 of it, each thread 8 x 8 as four 4 x 4
// patches, so that a warp reads A and B from shared memory in whole, conflict-free float4. Tiles of
// depth 8 are double-buffered: the next one travels from global memory while this one is used.
#include "gemm.cuh"

template <int WARPS_M, int WARPS_N, bool VECTOR>
__device__ __forceinline__ void multiply(const Gemm& g) {
    constexpr int BM = 32 * WARPS_M, BN = 64 * WARPS_N, BK = 8, THREADS = 32 * WARPS_M * WARPS_N;
    constexpr int PAD = 4;  // keeps the transposed stores of A in different banks
    __shared__ __align__(16) float a_tile[2][BK][BM + PAD];
    __shared__ __align__(16) float b_tile[2][BK][BN + PAD];
    using A = TilesOfA<float, BM, BK, THREADS, VECTOR>;
    using B = TilesOfB<float, BN, BK, THREADS, VECTOR>;

    int first_row, first_column;
    place_block<BM, BN>(g, first_row, first_column);
    const int z = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int row = warp / WARPS_N * 32 + lane / 8 * 4;      // and 16 below
    const int column = warp % WARPS_N * 64 + lane % 8 * 4;   // and 32 to the right
    const A a(g, first_row, z);
    const B b(g, first_column, z);
    Chunk<float> a_next[A::COUNT], b_next[B::COUNT];
    float sum[8][8];
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] = 0.0f;

    auto fetch = [&](int k0) {
#pragma unroll
        for (int i = 0; i < A::COUNT; ++i) a_next[i] = a.read(i, k0);
#pragma unroll
        for (int i = 0; i < B::COUNT; ++i) b_next[i] = b.read(i, k0);
    };
    auto put = [&](int buffer) {
#pragma unroll
        for (int i = 0; i < A::COUNT; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j)
                a_tile[buffer][A::column(i) + j][A::row(i)] = a_next[i].x[j];
#pragma unroll
        for (int i = 0; i < B::COUNT; ++i)
            *reinterpret_cast<uint4*>(&b_tile[buffer][B::row(i)][B::column(i)]) = b_next[i].words;
    };

    fetch(0);
    put(0);
    __syncthreads();
    int buffer = 0;
    for (int k0 = 0; k0 < g.k; k0 += BK) {
        const bool more = k0 + BK < g.k;
        if (more) fetch(k0 + BK);
#pragma unroll
        for (int k = 0; k < BK; ++k) {
            float left[8], right[8];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                *reinterpret_cast<float4*>(left + 4 * half) =
                    *reinterpret_cast<const float4*>(&a_tile[buffer][k][row + 16 * half]);
                *reinterpret_cast<float4*>(right + 4 * half) =
                    *reinterpret_cast<const float4*>(&b_tile[buffer][k][column + 32 * half]);
            }
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
        }
        if (more) {
            put(buffer ^ 1);  // its last readers passed the barrier one tile ago
            __syncthreads();
            buffer ^= 1;
        }
    }

    float* c = static_cast<float*>(g.c) + z * g.stride_c;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int r = first_row + row + i / 4 * 16 + i % 4;
        if (r >= g.m) continue;
        float* c_row = c + static_cast<long long>(r) * g.n;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int at = first_column + column + 32 * half;
            float out[4];
#pragma unroll
            for (int j = 0; j < 4; ++j)
                out[j] = at + j < g.n ? sum[i][4 * half + j] + bias_of<float>(g, r, at + j) : 0.0f;
            if (VECTOR) {
                if (at < g.n)
                    *reinterpret_cast<float4*>(c_row + at) =
                        make_float4(out[0], out[1], out[2], out[3]);
            } else {
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    if (at + j < g.n) c_row[at + j] = out[j];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2) gemm_f32_128x128(Gemm g) {
    multiply<4, 2, true>(g);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_f32_128x128_unaligned(Gemm g) {
    multiply<4, 2, false>(g);
}
extern "C" __global__ void __launch_bounds__(64) gemm_f32_64x64(Gemm g) { multiply<2, 1, true>(g); }
extern "C" __global__ void __launch_bounds__(64) gemm_f32_64x64_unaligned(Gemm g) {
    multiply<2, 1, false>(g);
}
extern "C" __global__ void __launch_bounds__(32) gemm_f32_32x64(Gemm g) { multiply<1, 1, true>(g); }
extern "C" __global__ void __launch_bounds__(32) gemm_f32_32x64_unaligned(Gemm g) {
    multiply<1, 1, false>(g);
}
