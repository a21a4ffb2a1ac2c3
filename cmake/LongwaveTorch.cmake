# LibTorch from the PyPI wheel: imported target Torch::cpu, with the headers and libtorch_cpu, libc10 only.
#
# The wheel's own find_package(Torch) would link all of CUDA; this project links the CPU library alone and loads everything
# CUDA with dlopen. The wheel's include folder carries an old google/protobuf, so it is searched last (-idirafter).
set(LONGWAVE_TORCH_DIR "${PROJECT_SOURCE_DIR}/.deps/libtorch/torch" CACHE PATH
    "The folder `torch` of an installed PyTorch 2.11 wheel")
if(NOT EXISTS "${LONGWAVE_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "No LibTorch in ${LONGWAVE_TORCH_DIR}: run scripts/setup, or set LONGWAVE_TORCH_DIR")
endif()

add_library(Torch::c10 SHARED IMPORTED)
set_target_properties(Torch::c10 PROPERTIES IMPORTED_LOCATION "${LONGWAVE_TORCH_DIR}/lib/libc10.so")
add_library(Torch::cpu SHARED IMPORTED)
set_target_properties(Torch::cpu PROPERTIES
  IMPORTED_LOCATION "${LONGWAVE_TORCH_DIR}/lib/libtorch_cpu.so"
  INTERFACE_COMPILE_OPTIONS "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${LONGWAVE_TORCH_DIR}/include -idirafter ${LONGWAVE_TORCH_DIR}/include/torch/csrc/api/include>"
  INTERFACE_LINK_LIBRARIES Torch::c10
  # libtorch_cpu's own dependencies (cudart, cupti) lie in sibling wheels that its RUNPATH finds at run time.
  INTERFACE_LINK_OPTIONS "LINKER:--allow-shlib-undefined")
