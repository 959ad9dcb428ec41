// cuda_src/intrinsics.cuh for the host: the same names, in C++ instead of PTX.
#pragma once

typedef unsigned short half_t;

inline float to_float(float x) { return x; }
inline float to_float(half_t x) {
    _Float16 narrow;
    std::memcpy(&narrow, &x, 2);
    return static_cast<float>(narrow);
}
template <typename T> T from_float(float x);
template <> inline float from_float<float>(float x) { return x; }
template <> inline half_t from_float<half_t>(float x) {
    _Float16 narrow = static_cast<_Float16>(x);
    half_t bits;
    std::memcpy(&bits, &narrow, 2);
    return bits;
}

#define DYNAMIC_SHARED(name)                                                             \
    unsigned char* name = reinterpret_cast<unsigned char*>(                              \
        (reinterpret_cast<uintptr_t>(emulator::dynamic_shared.data()) + 15) / 16 * 16)

// A warp's fragment is kept whole by its first lane; how a GPU spreads it over lanes is its secret.
struct Fragment { float x[16][16]; };
struct FragmentA : Fragment {};
struct FragmentB : Fragment {};
struct Accumulator : Fragment {};
inline bool first_lane() { return threadIdx.x % 32 == 0; }

inline void aligned_tile(const void* tile, int row_bytes) {  // as wmma.load demands
    if (reinterpret_cast<uintptr_t>(tile) % 32 && reinterpret_cast<uintptr_t>(tile) % 16) {
        std::fprintf(stderr, "emulator: a tile that is not aligned\n");
        std::abort();
    }
    if (row_bytes % 16) {
        std::fprintf(stderr, "emulator: a tile whose rows are not whole words of 16 bytes\n");
        std::abort();
    }
}
inline void clear(Accumulator& c) { std::memset(&c, 0, sizeof c); }
inline void load(Fragment& f, const half_t* tile, int row_length) {
    __syncwarp();  // all lanes bring their part
    aligned_tile(tile, row_length * 2);
    if (first_lane())
        for (int i = 0; i < 16; ++i)
            for (int j = 0; j < 16; ++j) f.x[i][j] = to_float(tile[i * row_length + j]);
}
inline void multiply_add(Accumulator& c, const FragmentA& a, const FragmentB& b) {
    if (first_lane())
        for (int i = 0; i < 16; ++i)
            for (int k = 0; k < 16; ++k)
                for (int j = 0; j < 16; ++j) c.x[i][j] += a.x[i][k] * b.x[k][j];
}
inline void store(float* tile, const Accumulator& c, int row_length) {
    aligned_tile(tile, row_length * 4);
    if (first_lane())
        for (int i = 0; i < 16; ++i)
            for (int j = 0; j < 16; ++j) tile[i * row_length + j] = c.x[i][j];
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define ASYNC_COPIES 1
// Made only when waited for, as late as the GPU may.
struct Copy { void* to; const void* from; bool valid; };
namespace emulator {
static std::vector<std::vector<std::vector<Copy>>> copies;  // thread, group, copy
inline std::vector<std::vector<Copy>>& of_this_thread() {
    if (copies.size() <= current) copies.resize(current + 1);
    if (copies[current].empty()) copies[current].emplace_back();
    return copies[current];
}
}  // namespace emulator
inline void copy_async(void* to, const void* from, bool valid) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16) {
        std::fprintf(stderr, "emulator: a copy that is not aligned\n");
        std::abort();
    }
    emulator::of_this_thread().back().push_back({to, from, valid});
}
inline void close_copies() { emulator::of_this_thread().emplace_back(); }
template <int LATER> void wait_copies() {
    auto& groups = emulator::of_this_thread();
    while (groups.size() > LATER + 1) {
        for (const Copy& copy : groups.front())
            if (copy.valid) std::memcpy(copy.to, copy.from, 16);
            else std::memset(copy.to, 0, 16);
        groups.erase(groups.begin());
    }
}
#else
#define ASYNC_COPIES 0
#endif
