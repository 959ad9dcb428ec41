// Stands in for NVIDIA's driver, and for cuBLAS, on the host: the calls that latprof and pycuda make.
// What else pycuda's extension links against is in unsupported.cpp. Allocations end at a page that
// may not be touched, and begin as NaN.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>
#if __has_include(<cuda.h>)  // then the compiler checks every signature here
#include <cuda.h>
#undef cuEventElapsedTime  // the driver has both it and its second version
#else
typedef int CUresult, CUdevice, CUdevice_attribute, CUfunction_attribute, CUstreamCaptureMode;
typedef int CUjit_option;
typedef unsigned long long CUdeviceptr, cuuint64_t;
typedef struct CUctx_st* CUcontext;
typedef struct CUmod_st* CUmodule;
typedef struct CUfunc_st* CUfunction;
typedef struct CUstream_st* CUstream;
typedef struct CUevent_st* CUevent;
typedef struct CUgraph_st* CUgraph;
typedef struct CUgraphExec_st* CUgraphExec;
#endif

namespace {
using Work = std::function<void()>;
using Bind = Work* (*)(void**, char*, size_t);
using Emulate = void (*)(Work*, unsigned, unsigned, unsigned, size_t);
struct Function { Bind bind; Emulate emulate; size_t shared_bytes = 48 << 10; };
struct Stream { bool capturing = false; std::vector<Work> captured; };
struct Event { timespec at; };
std::map<CUdeviceptr, std::pair<void*, size_t>> allocations;
std::vector<CUcontext> contexts;  // the stack of this thread

const CUresult OK{}, INVALID = CUresult(1), NO_MEMORY = CUresult(2), BAD_IMAGE = CUresult(200),
               NOT_FOUND = CUresult(500), CAPTURING = CUresult(900), NO_CONTEXT = CUresult(201);

long number(const char* name, long otherwise) {
    const char* text = std::getenv(name);
    return text ? std::atol(text) : otherwise;
}
void enqueue(Stream* stream, Work work) {
    if (stream->capturing) stream->captured.push_back(std::move(work));
    else work();
}
bool capturing_anywhere;
}  // namespace

extern "C" {
CUresult cuInit(unsigned) { return CUresult(number("STANDIN_INIT", 0)); }
CUresult cuDriverGetVersion(int* version) { *version = 12040; return OK; }
CUresult cuGetErrorName(CUresult error, const char** name) {
    static std::string text;
    *name = (text = "CUDA_ERROR_" + std::to_string(int(error))).c_str();
    return OK;
}
CUresult cuGetErrorString(CUresult error, const char** what) {
    static std::map<int, std::string> texts;
    *what = (texts[error] = "stand-in error " + std::to_string(int(error))).c_str();
    return OK;
}
CUresult cuDeviceGetCount(int* count) { *count = number("STANDIN_GPUS", 1); return OK; }
CUresult cuDeviceGet(CUdevice* device, int index) { *device = index; return OK; }
CUresult cuDeviceGetName(char* name, int length, CUdevice) {
    std::strncpy(name, "Stand-in GPU", length);
    return OK;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice) {
    const long capability = number("STANDIN_CAPABILITY", 70);
    switch (int(which)) {
        case 16: *value = 4; return OK;
        case 38: *value = number("STANDIN_L2", 64 << 10); return OK;
        case 75: *value = capability / 10; return OK;
        case 76: *value = capability % 10; return OK;
        case 97: *value = 96 << 10; return OK;
    }
    return INVALID;
}
CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice) { *bytes = size_t(1) << 32; return OK; }
CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice) {
    std::strncpy(id, "0000:01:00.0", length);
    return OK;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
    *context = reinterpret_cast<CUcontext>(1);
    return OK;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return OK; }
CUresult cuCtxSetCurrent(CUcontext) { return OK; }
CUresult cuCtxPushCurrent_v2(CUcontext context) { contexts.push_back(context); return OK; }
CUresult cuCtxPopCurrent_v2(CUcontext* context) {
    if (contexts.empty()) return NO_CONTEXT;
    if (context) *context = contexts.back();
    contexts.pop_back();
    return OK;
}
CUresult cuCtxGetDevice(CUdevice* device) { *device = 0; return OK; }

CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
    if (capturing_anywhere) return CAPTURING;
    const size_t page = sysconf(_SC_PAGESIZE), whole = (bytes + 15) / 16 * 16;
    const size_t body = (whole + page - 1) / page * page;
    if (body > size_t(number("STANDIN_MEMORY", 1l << 32))) return NO_MEMORY;
    void* start = mmap(nullptr, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NO_MEMORY;
    char* end = static_cast<char*>(start) + body;
    mprotect(end, page, PROT_NONE);
    std::memset(end - whole, 0xff, whole);
    *pointer = reinterpret_cast<CUdeviceptr>(end - whole);
    allocations[*pointer] = {start, body + page};
    return OK;
}
CUresult cuMemFree_v2(CUdeviceptr pointer) {
    auto found = allocations.find(pointer);
    if (found == allocations.end()) return INVALID;
    munmap(found->second.first, found->second.second);
    allocations.erase(found);
    return OK;
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return OK;
}
CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    std::memcpy(to, reinterpret_cast<void*>(from), bytes);
    return OK;
}

// An image is a shared library made by the stand-in compiler; its size is in its ELF header.
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    const char* bytes = static_cast<const char*>(image);
    if (std::memcmp(bytes, "\177ELF", 4)) return BAD_IMAGE;
    uint64_t sections;
    uint16_t size, count;
    std::memcpy(&sections, bytes + 40, 8);
    std::memcpy(&size, bytes + 58, 2);
    std::memcpy(&count, bytes + 60, 2);
    const int file = memfd_create("module", 0);
    const size_t total = sections + size_t(size) * count;
    if (write(file, image, total) != ssize_t(total)) return BAD_IMAGE;
    const std::string path = "/proc/self/fd/" + std::to_string(file);
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    *module = static_cast<CUmodule>(library);
    return library ? OK : BAD_IMAGE;
}
CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
    return cuModuleLoadData(module, image);
}
CUresult cuModuleUnload(CUmodule) { return OK; }
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    void* bind = dlsym(module, (std::string(name) + "__bind").c_str());
    if (!bind) return NOT_FOUND;
    auto emulate = reinterpret_cast<Emulate>(dlsym(module, "emulate"));
    *function = reinterpret_cast<CUfunction>(new Function{reinterpret_cast<Bind>(bind), emulate});
    return OK;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value) {
    if (int(which) != 8 || value > 96 << 10) return INVALID;
    reinterpret_cast<Function*>(function)->shared_bytes = value;
    return OK;
}
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, CUstream stream, void** params,
                        void** extra) {
    auto* f = reinterpret_cast<Function*>(function);
    if (!gx || !gy || gy > 65535 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 ||
        shared > f->shared_bytes)
        return INVALID;
    char* packed = nullptr;
    size_t bytes = 0;
    for (void** e = extra; e && *e; e += 2) {
        if (*e == reinterpret_cast<void*>(1)) packed = static_cast<char*>(e[1]);
        if (*e == reinterpret_cast<void*>(2)) bytes = *static_cast<size_t*>(e[1]);
    }
    Work* kernel = f->bind(params, packed, bytes);  // they are copied, as the driver does
    if (!kernel) return INVALID;
    enqueue(reinterpret_cast<Stream*>(stream),
            [=, emulate = f->emulate] { emulate(kernel, gx, gy, bx, shared); });
    return OK;
}

CUresult cuStreamCreate(CUstream* stream, unsigned) {
    *stream = reinterpret_cast<CUstream>(new Stream);
    return OK;
}
CUresult cuFuncSetBlockShape(CUfunction, int, int, int) { return OK; }
CUresult cuStreamDestroy_v2(CUstream stream) {
    delete reinterpret_cast<Stream*>(stream);
    return OK;
}
CUresult cuStreamSynchronize(CUstream stream) {
    return reinterpret_cast<Stream*>(stream)->capturing ? CAPTURING : OK;
}
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode) {
    auto* s = reinterpret_cast<Stream*>(stream);
    s->captured.clear();
    s->capturing = capturing_anywhere = true;
    return OK;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    auto* s = reinterpret_cast<Stream*>(stream);
    s->capturing = capturing_anywhere = false;
    *graph = reinterpret_cast<CUgraph>(new std::vector<Work>(s->captured));
    return OK;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec* made, CUgraph graph, unsigned long long) {
    auto* work = reinterpret_cast<std::vector<Work>*>(graph);
    *made = reinterpret_cast<CUgraphExec>(new std::vector<Work>(*work));
    return OK;
}
CUresult cuGraphLaunch(CUgraphExec graph, CUstream) {
    for (const Work& work : *reinterpret_cast<std::vector<Work>*>(graph)) work();
    return OK;
}
CUresult cuGraphExecDestroy(CUgraphExec graph) {
    delete reinterpret_cast<std::vector<Work>*>(graph);
    return OK;
}
CUresult cuGraphDestroy(CUgraph graph) {
    delete reinterpret_cast<std::vector<Work>*>(graph);
    return OK;
}

CUresult cuEventCreate(CUevent* event, unsigned) {
    *event = reinterpret_cast<CUevent>(new Event);
    return OK;
}
CUresult cuEventRecord(CUevent event, CUstream) {
    clock_gettime(CLOCK_MONOTONIC, &reinterpret_cast<Event*>(event)->at);
    return OK;
}
CUresult cuEventSynchronize(CUevent) { return CUresult(number("STANDIN_SYNC", 0)); }
CUresult cuEventElapsedTime(float* ms, CUevent from, CUevent to) {
    const timespec &a = reinterpret_cast<Event*>(from)->at, &b = reinterpret_cast<Event*>(to)->at;
    *ms = float((b.tv_sec - a.tv_sec) * 1e3 + (b.tv_nsec - a.tv_nsec) * 1e-6);
    return OK;
}
CUresult cuEventElapsedTime_v2(float* ms, CUevent from, CUevent to) {
    return cuEventElapsedTime(ms, from, to);
}
CUresult cuEventDestroy_v2(CUevent event) {
    delete reinterpret_cast<Event*>(event);
    return OK;
}

// ---- cuBLAS: the same library under a second name -----------------------------------------------
static Stream* cublas_stream;
int cublasCreate_v2(void** handle) { *handle = &cublas_stream; return 0; }
int cublasSetStream_v2(void*, CUstream stream) {
    cublas_stream = reinterpret_cast<Stream*>(stream);
    return 0;
}
int cublasSetWorkspace_v2(void*, void* workspace, size_t) { return workspace ? 0 : 7; }
int cublasGetVersion_v2(void*, int* version) { *version = 120403; return 0; }

static double element(const void* p, int type, long long i) {
    if (type == 2) return double(static_cast<const _Float16*>(p)[i]);
    return static_cast<const float*>(p)[i];
}
// Column-major, as cublas_api.h has it.
int cublasGemmStridedBatchedEx(void*, int transa, int transb, int m, int n, int k, const void* alpha,
                               const void* a, int atype, int lda, long long stride_a, const void* b,
                               int btype, int ldb, long long stride_b, const void* beta, void* c,
                               int ctype, int ldc, long long stride_c, int batch, int, int) {
    if (transa || transb || lda < m || ldb < k || ldc < m) return 7;
    if (*static_cast<const float*>(alpha) != 1 || *static_cast<const float*>(beta) != 0) return 7;
    enqueue(cublas_stream, [=] {
        for (int z = 0; z < batch; ++z)
            for (int j = 0; j < n; ++j)
                for (int i = 0; i < m; ++i) {
                    double sum = 0;
                    for (int l = 0; l < k; ++l)
                        sum += element(a, atype, z * stride_a + i + (long long)l * lda) *
                               element(b, btype, z * stride_b + l + (long long)j * ldb);
                    const long long at = z * stride_c + i + (long long)j * ldc;
                    if (ctype == 2) static_cast<_Float16*>(c)[at] = _Float16(sum);
                    else static_cast<float*>(c)[at] = float(sum);
                }
    });
    return 0;
}
}
