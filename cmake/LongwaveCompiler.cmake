# Language level, warnings, sanitizers and ccache for every target of this project.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(LONGWAVE_CCACHE ccache)
if(LONGWAVE_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${LONGWAVE_CCACHE}")
endif()

# Binaries run from the build tree as they are, and from an installed tree wherever it is put: bin/ beside lib/.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")
# Where libraries that are loaded with dlopen lie in the build tree.
set(LONGWAVE_LIBRARY_DIR "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_BUILD_RPATH "${LONGWAVE_LIBRARY_DIR}")

find_package(Threads REQUIRED)

# Linked PRIVATE by every target of ours: warnings for our code only, never for generated or foreign code.
add_library(longwave_warnings INTERFACE)
target_compile_options(longwave_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wnon-virtual-dtor;-Woverloaded-virtual;-Wno-missing-field-initializers>"
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${LONGWAVE_WERROR}>>:-Werror>)

if(LONGWAVE_SANITIZER)
  add_compile_options(-fsanitize=${LONGWAVE_SANITIZER} -fno-omit-frame-pointer -g)
  # RPATH, not RUNPATH: a sanitizer's dlopen stands between the program and the loader, which then ignores the program's RUNPATH.
  add_link_options(-fsanitize=${LONGWAVE_SANITIZER} LINKER:--disable-new-dtags)
endif()

# longwave_library(NAME [SHARED] SOURCES ... [PUBLIC ...] [PRIVATE ...]): one target per folder, included from the project's root
# ("model/runtime/model.h"), with warnings, and an alias longwave::suffix.
function(longwave_library name)
  cmake_parse_arguments(ARG "SHARED" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  if(ARG_SHARED)
    add_library(${name} SHARED ${ARG_SOURCES})
  else()
    add_library(${name} STATIC ${ARG_SOURCES})
  endif()
  string(REGEX REPLACE "^longwave_" "" suffix ${name})
  add_library(longwave::${suffix} ALIAS ${name})
  target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} longwave_warnings)
endfunction()
