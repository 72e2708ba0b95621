# A target that proves everything compiles for arm64, where a cross compiler is installed.
find_program(ARM64_CXX aarch64-linux-gnu-g++)
if(NOT ARM64_CXX)
  return()
endif()

get_target_property(SOURCES pararnn_cpu SOURCES)
list(FILTER SOURCES INCLUDE REGEX "\\.cpp$")
set(ARM64_CHECKS)
foreach(SOURCE ${SOURCES} ${KERNELS})
  list(APPEND ARM64_CHECKS
    COMMAND ${ARM64_CXX} -std=c++17 -O1 -Wall -Wextra -Werror -ffp-contract=off -DPARARNN_ISA=generic ${TORCH_VERSION_FLAG}
            -I ${CMAKE_CURRENT_SOURCE_DIR} -isystem ${TORCH_ROOT}/include -c ${CMAKE_CURRENT_SOURCE_DIR}/${SOURCE} -o ${CMAKE_CURRENT_BINARY_DIR}/arm64_check.o)
endforeach()
add_custom_target(arm64_compile_check ${ARM64_CHECKS} VERBATIM)
