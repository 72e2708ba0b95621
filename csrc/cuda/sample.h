// Sampling on a GPU: all pointers of the params to its memory, nothing checked there. Ids of biases rise
// within a slot.
#pragma once

#include "../params.h"

namespace pararnn {

// stream: a cudaStream_t of the device that is current.
void sample_cuda(const SampleParams& params, void* stream);

}  // namespace pararnn
