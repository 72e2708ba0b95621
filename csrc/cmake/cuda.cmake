# The CUDA library, as soon as there is an nvcc and a kernel; and a target that proves the shared maths compiles for GPUs.
find_program(NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
if(NOT NVCC)
  return()
endif()

set(CUDA_ARCHITECTURES 80 90 100)
file(GLOB CUDA_KERNELS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cuda/*.cu)
if(CUDA_KERNELS)
  set(CMAKE_CUDA_COMPILER ${NVCC})
  enable_language(CUDA)
  add_library(pararnn_cuda SHARED ops_cuda.cpp ${CUDA_KERNELS})
  target_compile_definitions(pararnn_cuda PRIVATE PARARNN_ISA=cuda)
  set_target_properties(pararnn_cuda PROPERTIES CUDA_ARCHITECTURES "${CUDA_ARCHITECTURES}")
  use_torch(pararnn_cuda)
  install(TARGETS pararnn_cuda LIBRARY DESTINATION pararnn_core/lib)
endif()

set(DEVICE_CHECKS)
foreach(ARCHITECTURE ${CUDA_ARCHITECTURES})
  list(APPEND DEVICE_CHECKS
    COMMAND ${NVCC} -std=c++17 -DPARARNN_ISA=cuda -I${CMAKE_CURRENT_SOURCE_DIR} -arch=sm_${ARCHITECTURE} -Werror all-warnings
            -c ${CMAKE_CURRENT_SOURCE_DIR}/../tests/cpp/cell_math_device.cu -o ${CMAKE_CURRENT_BINARY_DIR}/cell_math_device.o)
endforeach()
add_custom_target(cuda_compile_check ${DEVICE_CHECKS} VERBATIM)
