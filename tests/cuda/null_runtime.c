/* The CUDA runtime without a device: what PyTorch's host code calls, preloaded in its place.

   Device memory is the host's, so that copies from and to the host keep their values. A kernel
   computes nothing, but for the few single numbers that `null_set` and `null_add` change in its
   place, at once or in each replay of a graph. Calls are counted, and those that the capture of a
   graph does not allow are noted and refused as the real runtime does. */
#define __CUDACC_VER_MAJOR__ 13 /* the headers want a compiler of CUDA's */
#include <cuda_runtime_api.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- What is counted; Python reads these by name ------------------------------------------- */

atomic_long null_launches;    /* kernels and fills of memory, outside of a replayed graph */
atomic_long null_waits;       /* calls that wait for the device */
atomic_long null_copies_in;   /* host to device */
atomic_long null_copies_out;  /* device to host */
atomic_long null_pageable;    /* of both, those from or to memory that is not pinned */
atomic_long null_allocations; /* of device memory from the runtime */
atomic_long null_captures;    /* graphs captured */
atomic_long null_nodes;       /* of the graph captured last */
atomic_long null_replays;     /* of any graph */
atomic_long null_illegal;     /* calls during a capture that it does not allow */
char null_illegal_calls[8192]; /* their names, a line each */

/* ---- Memory -------------------------------------------------------------------------------- */

typedef struct Range {
    uintptr_t start, end;
    enum cudaMemoryType type;
    struct Range *next;
} Range;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Range *ranges;

static void remember(void *start, size_t size, enum cudaMemoryType type) {
    Range *range = malloc(sizeof *range);
    pthread_mutex_lock(&lock);
    *range = (Range){(uintptr_t)start, (uintptr_t)start + size, type, ranges};
    ranges = range;
    pthread_mutex_unlock(&lock);
}

static size_t forget(void *start) {
    size_t size = 0;
    pthread_mutex_lock(&lock);
    for (Range **place = &ranges; *place; place = &(*place)->next) {
        Range *range = *place;
        if (range->start == (uintptr_t)start) {
            size = range->end - range->start;
            *place = range->next;
            free(range);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return size;
}

static enum cudaMemoryType type_of(const void *address) {
    enum cudaMemoryType type = cudaMemoryTypeUnregistered;
    pthread_mutex_lock(&lock);
    for (Range *range = ranges; range; range = range->next)
        if (range->start <= (uintptr_t)address && (uintptr_t)address < range->end) {
            type = range->type;
            break;
        }
    pthread_mutex_unlock(&lock);
    return type;
}

/* ---- Capture ------------------------------------------------------------------------------- */

enum { MOST_STREAMS = 64 };
static cudaStream_t captured[MOST_STREAMS]; /* the stream being captured and those that wait for it */
static int captured_count;
static long nodes;
static bool invalid; /* an illegal call spoils the whole capture */
static enum cudaStreamCaptureMode capture_mode;
static _Thread_local enum cudaStreamCaptureMode thread_mode = cudaStreamCaptureModeGlobal;
static _Thread_local bool is_capturing_thread;

/* What a graph changes in memory, single numbers of which a run reads some. */
typedef struct {
    float *address, value;
    bool adds;
} Effect;

typedef struct Graph {
    size_t count;
    Effect *effects;
} Graph;

static Graph *graph_in_capture;

static void apply(Effect effect) {
    *effect.address = effect.value + (effect.adds ? *effect.address : 0);
}

static void add_effect(Effect effect) {
    if (!captured_count) {
        apply(effect);
        return;
    }
    Graph *graph = graph_in_capture;
    graph->effects = realloc(graph->effects, (graph->count + 1) * sizeof effect);
    graph->effects[graph->count++] = effect;
}

/* For Python, which knows what a kernel means. */
void null_set(float *address, float value) { add_effect((Effect){address, value, false}); }
void null_add(float *address, float value) { add_effect((Effect){address, value, true}); }

static bool is_captured(cudaStream_t stream) {
    for (int number = 0; number < captured_count; number++)
        if (captured[number] == stream) return true;
    return false;
}

static void join(cudaStream_t stream) {
    if (!is_captured(stream) && captured_count < MOST_STREAMS) captured[captured_count++] = stream;
}

static cudaError_t refuse(const char *call) {
    null_illegal++;
    invalid = true;
    size_t used = strlen(null_illegal_calls);
    snprintf(null_illegal_calls + used, sizeof null_illegal_calls - used, "%s\n", call);
    return cudaErrorStreamCaptureUnsupported;
}

/* Whether a call may disturb a capture; see cudaThreadExchangeStreamCaptureMode. */
static bool is_unsafe(void) {
    if (!captured_count || thread_mode == cudaStreamCaptureModeRelaxed) return false;
    if (is_capturing_thread) return capture_mode != cudaStreamCaptureModeRelaxed;
    return thread_mode == capture_mode && capture_mode == cudaStreamCaptureModeGlobal;
}

static cudaError_t launch(cudaStream_t stream) {
    if (is_captured(stream)) {
        nodes++;
        return cudaSuccess;
    }
    /* It would run now and not in the replays. */
    if (captured_count) return refuse("launch outside of the captured stream");
    null_launches++;
    return cudaSuccess;
}

static cudaError_t wait_for(const char *call) {
    null_waits++;
    return is_unsafe() ? refuse(call) : cudaSuccess;
}

static cudaError_t copy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind,
                        cudaStream_t stream) {
    bool in = kind == cudaMemcpyHostToDevice, out = kind == cudaMemcpyDeviceToHost;
    bool pinned = !(in || out) || type_of(in ? from : to) == cudaMemoryTypeHost;
    null_copies_in += in;
    null_copies_out += out;
    null_pageable += !pinned;
    if (captured_count) {
        if (!pinned) return refuse("copy between the device and pageable memory");
        if (!is_captured(stream)) return refuse("copy outside of the captured stream");
        nodes++;
        return cudaSuccess;
    }
    if (in || out) memmove(to, from, size);
    return cudaSuccess;
}

/* ---- The runtime's functions --------------------------------------------------------------- */

#define API cudaError_t
#define OK { return cudaSuccess; }

API cudaMalloc(void **address, size_t size) {
    if (is_unsafe()) return refuse("cudaMalloc");
    null_allocations++;
    *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (*address == MAP_FAILED) return cudaErrorMemoryAllocation;
    remember(*address, size, cudaMemoryTypeDevice);
    return cudaSuccess;
}
API cudaFree(void *address) {
    if (!address) return cudaSuccess;
    if (is_unsafe()) return refuse("cudaFree");
    size_t size = forget(address);
    if (size) munmap(address, size);
    return cudaSuccess;
}
API cudaHostAlloc(void **address, size_t size, unsigned flags) {
    if (is_unsafe()) return refuse("cudaHostAlloc");
    *address = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    remember(*address, size, cudaMemoryTypeHost);
    return cudaSuccess;
}
API cudaFreeHost(void *address) {
    if (is_unsafe()) return refuse("cudaFreeHost");
    forget(address);
    free(address);
    return cudaSuccess;
}
API cudaHostRegister(void *address, size_t size, unsigned flags) {
    remember(address, size, cudaMemoryTypeHost);
    return cudaSuccess;
}
API cudaHostUnregister(void *address) {
    forget(address);
    return cudaSuccess;
}
API cudaHostGetDevicePointer(void **device, void *host, unsigned flags) {
    *device = host;
    return cudaSuccess;
}
API cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *address) {
    memset(attributes, 0, sizeof *attributes);
    attributes->type = type_of(address);
    return cudaSuccess;
}
API cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *free_bytes = (size_t)79 << 30;
    *total = (size_t)80 << 30;
    return cudaSuccess;
}
API cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind,
                    cudaStream_t stream) {
    return copy(to, from, size, kind, stream);
}
API cudaMemcpy(void *to, const void *from, size_t size, enum cudaMemcpyKind kind) {
    cudaError_t error = wait_for("cudaMemcpy");
    return error ? error : copy(to, from, size, kind, 0);
}
API cudaMemsetAsync(void *address, int value, size_t size, cudaStream_t stream) {
    if (!captured_count) memset(address, value, size);
    return launch(stream);
}
API cudaMemset(void *address, int value, size_t size) {
    return cudaMemsetAsync(address, value, size, 0);
}

API cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t m, cudaStream_t stream) {
    return launch(stream);
}
API __cudaLaunchKernel(cudaKernel_t f, dim3 g, dim3 b, void **a, size_t m, cudaStream_t stream) {
    return launch(stream);
}
API cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *f, void **a) {
    return launch(config->stream);
}
API __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
    *kernel = (cudaKernel_t)function;
    return cudaSuccess;
}
API cudaFuncSetAttribute(const void *f, enum cudaFuncAttribute a, int value) OK
API cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *f) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = 90;
    return cudaSuccess;
}
API cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *f, int threads,
                                                           size_t memory, unsigned flags) {
    *blocks = threads < 2048 ? 2048 / threads : 1;
    return cudaSuccess;
}
API cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *f, int threads,
                                                  size_t memory) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, f, threads, memory, 0);
}

API cudaStreamSynchronize(cudaStream_t stream) { return wait_for("cudaStreamSynchronize"); }
API cudaDeviceSynchronize(void) { return wait_for("cudaDeviceSynchronize"); }
API cudaEventSynchronize(cudaEvent_t event) { return wait_for("cudaEventSynchronize"); }
API cudaStreamQuery(cudaStream_t stream) {
    return is_captured(stream) ? refuse("cudaStreamQuery") : cudaSuccess;
}
API cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
    static atomic_long made;
    *stream = (cudaStream_t)(uintptr_t)(256 + 16 * made++);
    return cudaSuccess;
}
API cudaStreamGetPriority(cudaStream_t stream, int *priority) {
    *priority = 0;
    return cudaSuccess;
}
API cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

/* An event is whether it was recorded in the capture. */
API cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    *event = calloc(1, sizeof(bool));
    return cudaSuccess;
}
API cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, 0); }
API cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}
API cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
    *(bool *)event = is_captured(stream);
    return cudaSuccess;
}
API cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return cudaEventRecordWithFlags(event, stream, 0);
}
API cudaEventQuery(cudaEvent_t event) { return is_unsafe() ? refuse("cudaEventQuery") : cudaSuccess; }
API cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    *milliseconds = 1;
    return cudaSuccess;
}
API cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    if (captured_count && *(bool *)event) join(stream);
    return cudaSuccess;
}

API cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    captured_count = 0;
    nodes = 0;
    invalid = false;
    capture_mode = mode;
    is_capturing_thread = true;
    graph_in_capture = calloc(1, sizeof(Graph));
    join(stream);
    return cudaSuccess;
}
API cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    captured_count = 0;
    is_capturing_thread = false;
    if (invalid) return cudaErrorStreamCaptureInvalidated;
    null_captures++;
    null_nodes = nodes;
    *graph = (cudaGraph_t)graph_in_capture;
    return cudaSuccess;
}
API cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    *status = is_captured(stream) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
API cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                             unsigned long long *id, cudaGraph_t *graph,
                             const cudaGraphNode_t **dependencies, const cudaGraphEdgeData **edges,
                             size_t *count) {
    if (id) *id = null_captures + 1;
    if (graph) *graph = (cudaGraph_t)graph_in_capture;
    if (count) *count = 0;
    return cudaStreamIsCapturing(stream, status);
}
API cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    enum cudaStreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return cudaSuccess;
}
API cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long f) {
    *exec = (cudaGraphExec_t)graph;
    return cudaSuccess;
}
API cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
    return cudaGraphInstantiateWithFlags(exec, graph, flags);
}
API cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *found, size_t *count) {
    *count = null_nodes;
    return cudaSuccess;
}
API cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    Graph *graph = (Graph *)exec;
    for (size_t number = 0; number < graph->count; number++) apply(graph->effects[number]);
    null_replays++;
    return cudaSuccess;
}
API cudaGraphDestroy(cudaGraph_t graph) OK /* its executable form is the same */
API cudaGraphExecDestroy(cudaGraphExec_t exec) {
    free(((Graph *)exec)->effects);
    free((Graph *)exec);
    return cudaSuccess;
}

API cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
API cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
API cudaSetDevice(int device) OK
API cudaGetLastError(void) OK
API cudaPeekAtLastError(void) OK
API cudaDriverGetVersion(int *version) {
    *version = 13000;
    return cudaSuccess;
}
API cudaDeviceCanAccessPeer(int *can, int device, int peer) {
    *can = 0;
    return cudaSuccess;
}
API cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                     unsigned long long flags,
                                     enum cudaDriverEntryPointQueryResult *found) {
    *function = NULL;
    if (found) *found = cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}
API cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
    switch (attribute) {
        case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
        case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
        case cudaDevAttrMultiProcessorCount: *value = 132; break;
        case cudaDevAttrWarpSize: *value = 32; break;
        default: *value = 1024;
    }
    return cudaSuccess;
}
/* An H100's */
API cudaGetDeviceProperties(struct cudaDeviceProp *device, int number) {
    *device = (struct cudaDeviceProp){
        .name = "null device",
        .totalGlobalMem = (size_t)80 << 30,
        .major = 9,
        .multiProcessorCount = 132,
        .warpSize = 32,
        .maxThreadsPerBlock = 1024,
        .maxThreadsPerMultiProcessor = 2048,
        .maxBlocksPerMultiProcessor = 32,
        .sharedMemPerBlock = 49152,
        .sharedMemPerMultiprocessor = 233472,
        .sharedMemPerBlockOptin = 232448,
        .regsPerBlock = 65536,
        .regsPerMultiprocessor = 65536,
        .l2CacheSize = 50 << 20,
        .textureAlignment = 512,
        .maxGridSize = {2147483647, 65535, 65535},
        .maxThreadsDim = {1024, 1024, 64},
        .memoryBusWidth = 5120,
        .asyncEngineCount = 3,
        .concurrentKernels = 1,
        .unifiedAddressing = 1,
    };
    return cudaSuccess;
}
