// What a kernel and its handler need of a device: CUDA's, or where g++ compiles them its emulation.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "xla/ffi/api/ffi.h"

#ifdef __CUDACC__
#include <cooperative_groups.h>
#include <cuda_runtime.h>
#else
#include "emulation.h"
#endif

namespace padl {

constexpr int kWarp = 32;
constexpr unsigned kEveryone = 0xffffffffu;

#ifdef __CUDACC__
using StreamContext = xla::ffi::PlatformStream<cudaStream_t>;
using ScratchContext = xla::ffi::ScratchAllocator;

template <typename T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
}

__device__ __forceinline__ void grid_sync() { cooperative_groups::this_grid().sync(); }

// ``cooperative``: all blocks run at once, so that they can wait for each other. No blocks are no launch.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), bool cooperative, int64_t blocks, int threads, size_t shared,
                   cudaStream_t stream, const Arguments&... arguments) {
  if (blocks == 0) return cudaSuccess;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = cooperative ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}
#endif

// Of all lanes of a warp, in one order; every lane has it.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kEveryone, value, step);
  return value;
}

inline int64_t blocks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

// One thread for each of ``count``.
template <typename... Parameters, typename... Arguments>
cudaError_t launch_each(void (*kernel)(Parameters...), int64_t count, cudaStream_t stream, const Arguments&... arguments) {
  constexpr int threads = 256;
  return launch(kernel, false, blocks_of(count, threads), threads, 0, stream, arguments...);
}

inline xla::ffi::Error status_of(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return xla::ffi::Error::Success();
  return xla::ffi::Error::Internal(std::string(what) + ": " + cudaGetErrorString(error));
}

// Value of an attribute of the device in use, -1 where it cannot be told.
inline int attribute_of_device(cudaDeviceAttr attribute) {
  int device = 0, value = -1;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&value, attribute, device) != cudaSuccess)
    return -1;
  return value;
}

// Memory on the device until the handler returns; null where there is none.
template <typename T, typename Allocator>
T* allocate(Allocator& scratch, int64_t count) {
  const auto found = scratch.Allocate(std::max<size_t>(count * sizeof(T), 16), 16);
  return static_cast<T*>(found.value_or(nullptr));
}

// Some values of one feature, one for each atom of a block: read at once.
template <typename T, int n>
struct alignas(16) Column {
  T value[n];
};

// Atoms (rows, features) as (blocks, features) columns, zero beyond the last atom.
template <typename T, int n>
__global__ void pack_atoms(const T* atoms, int64_t rows, int64_t features, Column<T, n>* columns) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= (rows + n - 1) / n * features * n) return;
  const int64_t j = i % n, p = i / n % features, k = i / n / features * n + j;
  columns[i / n].value[j] = k < rows ? atoms[k * features + p] : T(0);
}

}  // namespace padl
