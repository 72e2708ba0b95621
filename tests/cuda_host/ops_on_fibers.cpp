// The schemas of the ops that run on fibers.
#include "torch/schemas.h"

STABLE_TORCH_LIBRARY(pararnn_on_fibers, library) { pararnn::define_schemas(library); }
