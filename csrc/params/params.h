// Parameters of each kernel, the same on a CPU and on a GPU: sizes, strides (in elements) and pointers.
// Nothing here knows Torch.
#pragma once

#include "params/layer.h"
#include "params/limits.h"
#include "params/matrix.h"
#include "params/recurrence.h"
#include "params/rwkv7.h"
#include "params/sampling.h"
#include "params/sequences.h"
