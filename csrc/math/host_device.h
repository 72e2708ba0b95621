// PARARNN_ISA names the namespace of everything that is compiled once per instruction set, on CPU and on GPU.
#pragma once

#ifndef PARARNN_ISA
#error "compile with -DPARARNN_ISA=<level>"
#endif

#ifdef __CUDACC__
#define PARARNN_HD __host__ __device__ __forceinline__
#else
#define PARARNN_HD inline __attribute__((always_inline))
#endif
