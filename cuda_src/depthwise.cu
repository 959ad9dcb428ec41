// Depthwise convolution with bias, channels first or last, any kernel, stride and dilation.
#include "gemm.cuh"

struct Depthwise {
    const void *x, *weight, *bias;
    void* y;
    int batch, c, h_in, w_in, h_out, w_out;
    int kernel, stride, dilation, padding;
    int tile_c, tile_h, tile_w;  // channels first: outputs that one block makes
};

// Channels first: a block brings the inputs under a tile of outputs of some planes, with their
// rim, into shared memory, reading along rows. Planes are batch * c; weights are (c, kernel^2).
template <typename T>
__device__ __forceinline__ void planes(const Depthwise& d, unsigned char* shared) {
    const int reach = (d.kernel - 1) * d.dilation + 1, area = d.kernel * d.kernel;
    const int in_h = (d.tile_h - 1) * d.stride + reach, in_w = (d.tile_w - 1) * d.stride + reach;
    float* const tile = reinterpret_cast<float*>(shared);
    float* const weight = tile + d.tile_c * in_h * in_w;
    const int across = (d.w_out + d.tile_w - 1) / d.tile_w;
    const int first_y = blockIdx.y / across * d.tile_h, first_x = blockIdx.y % across * d.tile_w;
    const long long first = static_cast<long long>(blockIdx.x) * d.tile_c;
    const long long count = static_cast<long long>(d.batch) * d.c;

    for (int i = threadIdx.x; i < d.tile_c * in_h * in_w; i += blockDim.x) {
        const long long plane = first + i / (in_h * in_w);
        const int y = first_y * d.stride - d.padding + i / in_w % in_h;
        const int x = first_x * d.stride - d.padding + i % in_w;
        const bool inside = plane < count && y >= 0 && y < d.h_in && x >= 0 && x < d.w_in;
        const T* from = static_cast<const T*>(d.x);
        tile[i] = inside ? to_float(__ldg(from + (plane * d.h_in + y) * d.w_in + x)) : 0.0f;
    }
    for (int i = threadIdx.x; i < d.tile_c * area; i += blockDim.x) {
        const long long plane = first + i / area;
        const T* from = static_cast<const T*>(d.weight);
        weight[i] = plane < count ? to_float(__ldg(from + plane % d.c * area + i % area)) : 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < d.tile_c * d.tile_h * d.tile_w; i += blockDim.x) {
        const int local = i / (d.tile_h * d.tile_w), dy = i / d.tile_w % d.tile_h, dx = i % d.tile_w;
        const long long plane = first + local;
        const int y = first_y + dy, x = first_x + dx;
        if (plane >= count || y >= d.h_out || x >= d.w_out) continue;
        const float* in = tile + (local * in_h + dy * d.stride) * in_w + dx * d.stride;
        const float* w = weight + local * area;
        float sum = to_float(__ldg(static_cast<const T*>(d.bias) + plane % d.c));
        for (int ky = 0; ky < d.kernel; ++ky)
            for (int kx = 0; kx < d.kernel; ++kx)
                sum = fmaf(in[(ky * in_w + kx) * d.dilation], w[ky * d.kernel + kx], sum);
        static_cast<T*>(d.y)[(plane * d.h_out + y) * d.w_out + x] = from_float<T>(sum);
    }
}

// Channels last: a thread makes WIDE neighbouring channels of one pixel, so that a warp reads and
// writes whole lines; neighbouring pixels find their inputs in L1. Weights are (kernel^2, c).
template <typename T, int WIDE>
__device__ __forceinline__ void pixels(const Depthwise& d) {
    const int chunks = d.c / WIDE;
    const long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<long long>(d.batch) * d.h_out * d.w_out * chunks) return;
    const int channel = static_cast<int>(at % chunks) * WIDE;
    const long long pixel = at / chunks;
    const int x = static_cast<int>(pixel % d.w_out);
    const int y = static_cast<int>(pixel / d.w_out % d.h_out);
    const long long image = pixel / d.w_out / d.h_out;
    const T* in = static_cast<const T*>(d.x) + image * d.h_in * d.w_in * d.c + channel;
    const T* weight = static_cast<const T*>(d.weight) + channel;
    float sum[WIDE];
#pragma unroll
    for (int j = 0; j < WIDE; ++j)
        sum[j] = to_float(__ldg(static_cast<const T*>(d.bias) + channel + j));
    for (int ky = 0; ky < d.kernel; ++ky) {
        const int in_y = y * d.stride - d.padding + ky * d.dilation;
        if (in_y < 0 || in_y >= d.h_in) continue;
        for (int kx = 0; kx < d.kernel; ++kx) {
            const int in_x = x * d.stride - d.padding + kx * d.dilation;
            if (in_x < 0 || in_x >= d.w_in) continue;
            const T* from = in + (static_cast<long long>(in_y) * d.w_in + in_x) * d.c;
            const T* w = weight + (ky * d.kernel + kx) * d.c;
            if (WIDE > 1) {
                const Chunk<T> values = read_chunk(from), weights = read_chunk(w);
#pragma unroll
                for (int j = 0; j < WIDE; ++j)
                    sum[j] = fmaf(to_float(values.x[j]), to_float(weights.x[j]), sum[j]);
            } else {
                sum[0] = fmaf(to_float(__ldg(from)), to_float(__ldg(w)), sum[0]);
            }
        }
    }
    T* out = static_cast<T*>(d.y) + pixel * d.c + channel;
    if (WIDE > 1) {
        Chunk<T> values;
#pragma unroll
        for (int j = 0; j < WIDE; ++j) values.x[j] = from_float<T>(sum[j]);
        *reinterpret_cast<uint4*>(out) = values.words;
    } else {
        out[0] = from_float<T>(sum[0]);
    }
}

extern "C" __global__ void __launch_bounds__(256) depthwise_f32_nchw(Depthwise d) {
    DYNAMIC_SHARED(shared);
    planes<float>(d, shared);
}
extern "C" __global__ void __launch_bounds__(256) depthwise_f16_nchw(Depthwise d) {
    DYNAMIC_SHARED(shared);
    planes<half_t>(d, shared);
}
extern "C" __global__ void __launch_bounds__(256) depthwise_f32_nhwc(Depthwise d) {
    pixels<float, 4>(d);
}
extern "C" __global__ void __launch_bounds__(256) depthwise_f32_nhwc_unaligned(Depthwise d) {
    pixels<float, 1>(d);
}
extern "C" __global__ void __launch_bounds__(256) depthwise_f16_nhwc(Depthwise d) {
    pixels<half_t, 8>(d);
}
extern "C" __global__ void __launch_bounds__(256) depthwise_f16_nhwc_unaligned(Depthwise d) {
    pixels<half_t, 1>(d);
}
