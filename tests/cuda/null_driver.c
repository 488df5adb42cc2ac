/* A stand-in for the CUDA driver, libcuda.so.1: what PyTorch links to and asks while it starts.

   Everything else it would reach through the runtime, which null_runtime.c replaces. */
#include <stddef.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 801 };

int cuInit(unsigned flags) { return SUCCESS; }
int cuDriverGetVersion(int *version) {
    *version = 13000;
    return SUCCESS;
}
int cuDeviceGetCount(int *count) {
    *count = 1;
    return SUCCESS;
}
int cuDeviceGet(int *device, int number) {
    *device = number;
    return SUCCESS;
}
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return SUCCESS;
}
int cuCtxGetCurrent(void **context) {
    *context = NULL;
    return SUCCESS;
}
int cuCtxSetCurrent(void *context) { return SUCCESS; }
int cuGetErrorString(int error, const char **text) {
    *text = "the null device cannot do this";
    return SUCCESS;
}

#define UNSUPPORTED(name) \
    int name(void) { return NOT_SUPPORTED; }
UNSUPPORTED(cuDeviceGetAttribute)
UNSUPPORTED(cuDevicePrimaryCtxRetain)
UNSUPPORTED(cuFuncGetAttribute)
UNSUPPORTED(cuFuncSetAttribute)
UNSUPPORTED(cuFuncSetCacheConfig)
UNSUPPORTED(cuGetProcAddress)
UNSUPPORTED(cuGetProcAddress_v2)
UNSUPPORTED(cuLaunchCooperativeKernel)
UNSUPPORTED(cuLaunchKernel)
UNSUPPORTED(cuLinkAddData_v2)
UNSUPPORTED(cuLinkComplete)
UNSUPPORTED(cuLinkCreate_v2)
UNSUPPORTED(cuModuleGetFunction)
UNSUPPORTED(cuModuleLoad)
UNSUPPORTED(cuModuleLoadData)
UNSUPPORTED(cuModuleLoadDataEx)
UNSUPPORTED(cuModuleUnload)
UNSUPPORTED(cuOccupancyMaxActiveBlocksPerMultiprocessor)
UNSUPPORTED(cuPointerGetAttribute)
UNSUPPORTED(cuTensorMapEncodeTiled)
