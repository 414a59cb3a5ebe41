/* A driver without a device: enough of libcuda for cuDNN to compile its kernels and believe that it loaded them.
   Nothing can be launched. Built and loaded by src/exec/cuda/cudnn/deviceless.rs. */

#include <stddef.h>

#define NO_DEVICE 100
#define HANDED_OUT(number) ((void *)(size_t)(number))

int cuGetErrorString(int error, const char **text) { (void)error; *text = "no device"; return 0; }
int cuGetErrorName(int error, const char **text) { return cuGetErrorString(error, text); }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuCtxGetCurrent(void **context) { *context = HANDED_OUT(0x1000); return 0; }
int cuLibraryLoadData(void **library) { *library = HANDED_OUT(0x2000); return 0; }
int cuLibraryGetKernel(void **kernel) { *kernel = HANDED_OUT(0x3000); return 0; }
int cuLibraryUnload(void) { return 0; }
int cuKernelGetFunction(void **function) { *function = HANDED_OUT(0x4000); return 0; }
int cuKernelGetAttribute(int *value) { *value = 0; return 0; }
int cuKernelSetAttribute(void) { return 0; }
int cuModuleLoadData(void **module) { *module = HANDED_OUT(0x2000); return 0; }
int cuModuleGetFunction(void **function) { *function = HANDED_OUT(0x4000); return 0; }
int cuModuleUnload(void) { return 0; }
int cuOccupancyMaxPotentialClusterSize(int *size) { *size = 8; return 0; }

#define REFUSED(name) int name(void) { return NO_DEVICE; }
REFUSED(cuCtxGetLimit)
REFUSED(cuCtxPopCurrent)
REFUSED(cuCtxPushCurrent)
REFUSED(cuDeviceGet)
REFUSED(cuDeviceGetCount)
REFUSED(cuLaunchCooperativeKernel)
REFUSED(cuLaunchKernel)
REFUSED(cuLaunchKernelEx)
REFUSED(cuLibraryLoadFromFile)
REFUSED(cuLinkAddData)
REFUSED(cuLinkComplete)
REFUSED(cuLinkCreate)
REFUSED(cuLinkDestroy)
REFUSED(cuStreamGetCtx)
REFUSED(cuTensorMapEncodeIm2col)
REFUSED(cuTensorMapEncodeTiled)
