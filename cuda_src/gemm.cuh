// What the matrix products share: C[z] = A[z] B[z] + bias, all row-major, and how tiles come in.
//
// A 1x1 convolution is one of these. Channels first: weights (c_out, c_in) times each image
// (c_in, h * w). Channels last: pixels (batch * h * w, c_in) times weights (c_in, c_out). A stride
// picks pixels: columns of B in the first case, rows of A in the second.
#pragma once
#include "intrinsics.cuh"

enum BiasAxis { NO_BIAS, BIAS_PER_ROW, BIAS_PER_COLUMN };
enum Pick { PICK_NONE, PICK_ROWS_OF_A, PICK_COLUMNS_OF_B };

struct Gemm {
    const void *a, *b, *bias;
    void* c;
    long long stride_a, stride_b, stride_c;  // elements from one z to the next
    int m, n, k;
    int ldb;  // elements from one row of B to the next; A's rows are k long, C's n
    int bias_axis;
    int pick, stride, h_in, w_in, h_out, w_out;
};

// 16 bytes of T: what a thread moves at once.
template <typename T>
union Chunk {
    uint4 words;
    T x[16 / sizeof(T)];
};

template <typename T>
__device__ __forceinline__ Chunk<T> read_chunk(const T* p) {
    Chunk<T> out;
    out.words = __ldg(reinterpret_cast<const uint4*>(p));
    return out;
}

template <typename T>
__device__ __forceinline__ Chunk<T> zero_chunk() {
    Chunk<T> out;
    out.words = make_uint4(0u, 0u, 0u, 0u);
    return out;
}

// The input pixel under an output pixel, within one image, in pixels.
__device__ __forceinline__ int picked_pixel(const Gemm& g, int pixel) {
    return (pixel / g.w_out) * g.stride * g.w_in + (pixel % g.w_out) * g.stride;
}

// The BM x BK tiles of A that a block walks along k, as one thread's share of chunks.
template <typename T, int BM, int BK, int THREADS, bool VECTOR>
struct TilesOfA {
    static constexpr int WIDE = 16 / sizeof(T), PER_ROW = BK / WIDE;
    static constexpr int COUNT = BM * PER_ROW / THREADS;
    const T* row_start[COUNT];
    bool inside[COUNT];
    int k;

    __device__ __forceinline__ static int row(int i) {
        return (threadIdx.x + i * THREADS) / PER_ROW;
    }
    __device__ __forceinline__ static int column(int) { return threadIdx.x % PER_ROW * WIDE; }

    __device__ __forceinline__ TilesOfA(const Gemm& g, int first_row, int z) : k(g.k) {
        static_assert(COUNT > 0 && THREADS % PER_ROW == 0, "each thread has its own column");
        const T* a = static_cast<const T*>(g.a) + z * g.stride_a;
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            int r = first_row + row(i);
            inside[i] = r < g.m;
            long long from = inside[i] ? r : 0;
            if (g.pick == PICK_ROWS_OF_A) {
                int image = g.h_out * g.w_out;
                from = from / image * g.h_in * g.w_in + picked_pixel(g, int(from % image));
            }
            row_start[i] = a + from * g.k;
        }
    }

    __device__ __forceinline__ bool whole(int i, int k0) const {
        return inside[i] && k0 + column(i) < k;
    }
    __device__ __forceinline__ const T* address(int i, int k0) const {
        return row_start[i] + (whole(i, k0) ? k0 + column(i) : 0);
    }
    __device__ __forceinline__ Chunk<T> read(int i, int k0) const {
        if (VECTOR) return whole(i, k0) ? read_chunk(address(i, k0)) : zero_chunk<T>();
        Chunk<T> out = zero_chunk<T>();
#pragma unroll
        for (int j = 0; j < WIDE; ++j) {
            int at = k0 + column(i) + j;
            if (inside[i] && at < k) out.x[j] = __ldg(row_start[i] + at);
        }
        return out;
    }
};

// The BK x BN tiles of B that a block walks along k, as one thread's share of chunks.
template <typename T, int BN, int BK, int THREADS, bool VECTOR>
struct TilesOfB {
    static constexpr int WIDE = 16 / sizeof(T), PER_ROW = BN / WIDE;
    static constexpr int COUNT = BK * PER_ROW / THREADS;
    static constexpr int COLUMNS = VECTOR ? 1 : WIDE;
    const T* b;
    int k, ldb;
    bool inside[COLUMNS];
    int from[COLUMNS];

    __device__ __forceinline__ static int row(int i) {
        return (threadIdx.x + i * THREADS) / PER_ROW;
    }
    __device__ __forceinline__ static int column(int) { return threadIdx.x % PER_ROW * WIDE; }

    __device__ __forceinline__ TilesOfB(const Gemm& g, int first_column, int z)
        : b(static_cast<const T*>(g.b) + z * g.stride_b), k(g.k), ldb(g.ldb) {
        static_assert(COUNT > 0 && THREADS % PER_ROW == 0, "each thread has its own columns");
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            int at = first_column + column(0) + j;
            inside[j] = at < g.n;
            at = inside[j] ? at : 0;
            from[j] = g.pick == PICK_COLUMNS_OF_B ? picked_pixel(g, at) : at;
        }
    }

    __device__ __forceinline__ bool whole(int i, int k0) const {
        return inside[0] && k0 + row(i) < k;
    }
    __device__ __forceinline__ const T* address(int i, int k0) const {
        return whole(i, k0) ? b + static_cast<long long>(k0 + row(i)) * ldb + from[0] : b;
    }
    __device__ __forceinline__ Chunk<T> read(int i, int k0) const {
        if (VECTOR) return whole(i, k0) ? read_chunk(address(i, k0)) : zero_chunk<T>();
        Chunk<T> out = zero_chunk<T>();
        if (k0 + row(i) >= k) return out;
        const T* start = b + static_cast<long long>(k0 + row(i)) * ldb;
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j)
            if (inside[j]) out.x[j] = __ldg(start + from[j]);
        return out;
    }
};

// Which tile of C this block makes. Eight rows of tiles are worked through column by column, so
// that blocks running together read the same tiles of A and B from L2.
template <int BM, int BN>
__device__ __forceinline__ void place_block(const Gemm& g, int& first_row, int& first_column) {
    const int GROUP = 8;
    int rows = (g.m + BM - 1) / BM, columns = (g.n + BN - 1) / BN;
    int group = blockIdx.x / (GROUP * columns), within = blockIdx.x % (GROUP * columns);
    int height = min(GROUP, rows - group * GROUP);
    first_row = (group * GROUP + within % height) * BM;
    first_column = within / height * BN;
}

template <typename T>
__device__ __forceinline__ float bias_of(const Gemm& g, int row, int column) {
    if (g.bias_axis == NO_BIAS) return 0.0f;
    return to_float(__ldg(static_cast<const T*>(g.bias) +
                          (g.bias_axis == BIAS_PER_ROW ? row : column)));
}
