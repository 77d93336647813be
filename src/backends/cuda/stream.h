#pragma once

#include <cuda_runtime.h>

#include <memory>

#include "tensor/device.h"

namespace gale::cuda {

struct KernelTable;

// The CUDA stream behind a Stream that this backend made.
[[nodiscard]] cudaStream_t handle_of(Stream& stream);

// Which kernels products on this stream take: its device's table.
[[nodiscard]] const KernelTable& table_of(Stream& stream);
[[nodiscard]] const KernelTable& table_of(const Device& device);
// A stream of the current device whose products follow another table, which must outlive it.
[[nodiscard]] std::unique_ptr<Stream> make_stream_with(const KernelTable& table);

}  // namespace gale::cuda
