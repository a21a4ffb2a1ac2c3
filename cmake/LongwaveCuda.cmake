# CUDA for liblongwave_cuda, where nvcc and LibTorch's CUDA headers are there.
#
# LONGWAVE_BUILD_CUDA: AUTO (build it where that is so), ON (fail where it is not), OFF. LONGWAVE_CUDA_ARCHITECTURES, or where that is
# not given CMAKE_CUDA_ARCHITECTURES: 90a for Hopper with its own instructions; 80 and 89 take the portable path of each kernel.
set(LONGWAVE_BUILD_CUDA "AUTO" CACHE STRING "Build the CUDA library: AUTO, ON or OFF")
if(CMAKE_CUDA_ARCHITECTURES)
  set(LONGWAVE_CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}" CACHE STRING "CUDA architectures, e.g. \"80;89;90a\"")
else()
  set(LONGWAVE_CUDA_ARCHITECTURES "90a" CACHE STRING "CUDA architectures, e.g. \"80;89;90a\"")
endif()
set_property(CACHE LONGWAVE_BUILD_CUDA PROPERTY STRINGS AUTO ON OFF)

set(LONGWAVE_CUDA OFF)
if(LONGWAVE_BUILD_CUDA STREQUAL "AUTO" OR LONGWAVE_BUILD_CUDA)
  set(LONGWAVE_CUDA ON)
  foreach(needed ATen/cuda/CUDAContext.h c10/cuda/CUDAStream.h)
    if(NOT EXISTS "${LONGWAVE_TORCH_DIR}/include/${needed}")
      set(LONGWAVE_CUDA OFF)
      set(LONGWAVE_CUDA_MISSING "LibTorch's header ${needed}")
    endif()
  endforeach()
  include(CheckLanguage)
  find_program(LONGWAVE_NVCC nvcc PATHS /usr/local/cuda/bin)
  if(LONGWAVE_NVCC AND NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER "${LONGWAVE_NVCC}")
  endif()
  if(NOT LONGWAVE_NVCC)
    set(LONGWAVE_CUDA OFF)
    set(LONGWAVE_CUDA_MISSING "nvcc")
  endif()
  if(NOT LONGWAVE_CUDA AND NOT LONGWAVE_BUILD_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "LONGWAVE_BUILD_CUDA is ON and there is no ${LONGWAVE_CUDA_MISSING}")
  endif()
endif()
if(NOT LONGWAVE_CUDA)
  return()
endif()

# Code for sm_90 cannot be told from sm_90a's when it is loaded, and has none of the instructions that the kernels for it need.
list(TRANSFORM LONGWAVE_CUDA_ARCHITECTURES REPLACE "^90(-[a-z]+|)$" "90a\\1" OUTPUT_VARIABLE CMAKE_CUDA_ARCHITECTURES)
enable_language(CUDA)
# CMake 3.25 knows no CUDA20: .cu files, and the headers that they share, are C++17.
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
if(LONGWAVE_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${LONGWAVE_CCACHE}")
endif()

# libtorch_cuda and libc10_cuda need cuBLAS, cuDNN and more, which only a machine with a GPU has to have: not looked at when linking.
foreach(part c10_cuda torch_cuda)
  add_library(Torch::${part} SHARED IMPORTED)
  set_target_properties(Torch::${part} PROPERTIES
    IMPORTED_LOCATION "${LONGWAVE_TORCH_DIR}/lib/lib${part}.so"
    INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}"
    INTERFACE_LINK_LIBRARIES Torch::cpu)
endforeach()

# longwave_cuda_library(NAME SOURCES ... [PRIVATE ...]): a shared library of .cu files (no LibTorch headers) and .cc files. The CUDA
# runtime is the one LibTorch has loaded.
function(longwave_cuda_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PRIVATE" ${ARGN})
  add_library(${name} SHARED ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  set_target_properties(${name} PROPERTIES CUDA_RUNTIME_LIBRARY Shared LIBRARY_OUTPUT_DIRECTORY "${LONGWAVE_LIBRARY_DIR}")
  target_compile_options(${name} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;--compress-mode=size>")
  target_link_libraries(${name} PRIVATE ${ARG_PRIVATE} Torch::torch_cuda Torch::c10_cuda longwave_warnings)
  install(TARGETS ${name})
endfunction()
