// Matrix product of halves on tensor cores (WMMA), summed in float32.
//
// A block of 2 x 2 warps makes a BM x BN tile of C, each warp a quarter as FM x FN fragments of
// 16 x 16. Tiles of depth 32 go through a ring of three in shared memory: while one is used, the
// one after the next travels; through cp.async from sm_80 up, else through registers.
#include "gemm.cuh"

template <int FM, int FN, bool VECTOR>
__device__ __forceinline__ void multiply(const Gemm& g, unsigned char* shared) {
    constexpr int BM = 32 * FM, BN = 32 * FN, BK = 32, THREADS = 128, RING = 3;
    constexpr int PAD = 8;  // 16 bytes: neighbouring rows start in different banks
    constexpr int LDA = BK + PAD, LDB = BN + PAD, TILE = BM * LDA + BK * LDB;
    constexpr bool ASYNC = VECTOR && ASYNC_COPIES;
    using A = TilesOfA<half_t, BM, BK, THREADS, VECTOR>;
    using B = TilesOfB<half_t, BN, BK, THREADS, VECTOR>;

    half_t* const ring = reinterpret_cast<half_t*>(shared);
    int first_row, first_column;
    place_block<BM, BN>(g, first_row, first_column);
    const int z = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / 2 * 16 * FM, warp_column = warp % 2 * 16 * FN;
    const A a(g, first_row, z);
    const B b(g, first_column, z);
    Chunk<half_t> a_next[A::COUNT], b_next[B::COUNT];
    Accumulator sum[FM][FN];
#pragma unroll
    for (int i = 0; i < FM; ++i)
#pragma unroll
        for (int j = 0; j < FN; ++j) clear(sum[i][j]);

    auto a_place = [&](int tile, int i) {
        return ring + tile % RING * TILE + A::row(i) * LDA + A::column(i);
    };
    auto b_place = [&](int tile, int i) {
        return ring + tile % RING * TILE + BM * LDA + B::row(i) * LDB + B::column(i);
    };
    const int tiles = (g.k + BK - 1) / BK;
    auto fetch = [&](int tile) {  // beyond the last tile these are zeros, which nobody reads
#if ASYNC_COPIES
        if (ASYNC) {
#pragma unroll
            for (int i = 0; i < A::COUNT; ++i)
                copy_async(a_place(tile, i), a.address(i, tile * BK), a.whole(i, tile * BK));
#pragma unroll
            for (int i = 0; i < B::COUNT; ++i)
                copy_async(b_place(tile, i), b.address(i, tile * BK), b.whole(i, tile * BK));
            close_copies();
            return;
        }
#endif
#pragma unroll
        for (int i = 0; i < A::COUNT; ++i) a_next[i] = a.read(i, tile * BK);
#pragma unroll
        for (int i = 0; i < B::COUNT; ++i) b_next[i] = b.read(i, tile * BK);
    };
    auto put = [&](int tile) {
        if (ASYNC) return;
#pragma unroll
        for (int i = 0; i < A::COUNT; ++i)
            *reinterpret_cast<uint4*>(a_place(tile, i)) = a_next[i].words;
#pragma unroll
        for (int i = 0; i < B::COUNT; ++i)
            *reinterpret_cast<uint4*>(b_place(tile, i)) = b_next[i].words;
    };

    for (int tile = 0; tile < RING - 1; ++tile) {
        fetch(tile);
        put(tile);
    }
    for (int tile = 0; tile < tiles; ++tile) {
#if ASYNC_COPIES
        if (ASYNC) wait_copies<RING - 2>();
#endif
        __syncthreads();  // this tile has come, and the one before it is used up
        fetch(tile + RING - 1);
        const half_t* a_tile = ring + tile % RING * TILE;
        const half_t* b_tile = a_tile + BM * LDA;
#pragma unroll
        for (int k = 0; k < BK; k += 16) {
            FragmentA left[FM];
            FragmentB right[FN];
#pragma unroll
            for (int i = 0; i < FM; ++i) load(left[i], a_tile + (warp_row + 16 * i) * LDA + k, LDA);
#pragma unroll
            for (int j = 0; j < FN; ++j) load(right[j], b_tile + k * LDB + warp_column + 16 * j, LDB);
#pragma unroll
            for (int i = 0; i < FM; ++i)
#pragma unroll
                for (int j = 0; j < FN; ++j) multiply_add(sum[i][j], left[i], right[j]);
        }
        put(tile + RING - 1);
    }
#if ASYNC_COPIES
    if (ASYNC) wait_copies<0>();
#endif
    __syncthreads();  // the ring is free: each warp takes 16 x 20 floats of it

    constexpr int LDC = 20;
    float* const patch = reinterpret_cast<float*>(shared) + warp * 16 * LDC;
    half_t* c = static_cast<half_t*>(g.c) + z * g.stride_c;
    const int row = lane / 2, column = lane % 2 * 8;
#pragma unroll
    for (int i = 0; i < FM; ++i)
#pragma unroll
        for (int j = 0; j < FN; ++j) {
            store(patch, sum[i][j], LDC);
            __syncwarp();
            const int r = first_row + warp_row + 16 * i + row;
            const int at = first_column + warp_column + 16 * j + column;
            if (r < g.m) {
                Chunk<half_t> out = zero_chunk<half_t>();
#pragma unroll
                for (int e = 0; e < 8; ++e)
                    if (at + e < g.n)
                        out.x[e] = from_float<half_t>(patch[row * LDC + column + e] +
                                                      bias_of<half_t>(g, r, at + e));
                half_t* to = c + static_cast<long long>(r) * g.n + at;
                if (VECTOR) {
                    if (at < g.n) *reinterpret_cast<uint4*>(to) = out.words;
                } else {
#pragma unroll
                    for (int e = 0; e < 8; ++e)
                        if (at + e < g.n) to[e] = out.x[e];
                }
            }
            __syncwarp();
        }
}

extern "C" __global__ void __launch_bounds__(128) gemm_f16_128x128(Gemm g) {
    DYNAMIC_SHARED(shared);
    multiply<4, 4, true>(g, shared);
}
extern "C" __global__ void __launch_bounds__(128) gemm_f16_128x128_unaligned(Gemm g) {
    DYNAMIC_SHARED(shared);
    multiply<4, 4, false>(g, shared);
}
extern "C" __global__ void __launch_bounds__(128) gemm_f16_64x64(Gemm g) {
    DYNAMIC_SHARED(shared);
    multiply<2, 2, true>(g, shared);
}
extern "C" __global__ void __launch_bounds__(128) gemm_f16_64x64_unaligned(Gemm g) {
    DYNAMIC_SHARED(shared);
    multiply<2, 2, false>(g, shared);
}
