# longwave_test(NAME SOURCES ... LINK ...): a GoogleTest program, registered with ctest as one test of that name.
include(GoogleTest)

function(longwave_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock_main GTest::gtest longwave_warnings)
  longwave_sanitize(${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()

# longwave_python_test(NAME PATH [ENV A=B ...]): pytest on PATH with the full PyTorch that scripts/setup --tests installs.
set(LONGWAVE_PYTHON "${PROJECT_SOURCE_DIR}/.deps/pytorch/bin/python" CACHE FILEPATH
    "Python with PyTorch, grpcio and pytest for the Python tests")
function(longwave_python_test name path)
  cmake_parse_arguments(ARG "" "TIMEOUT" "ENV" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  add_test(NAME ${name} COMMAND "${LONGWAVE_PYTHON}" -m pytest -q -p no:cacheprovider "${path}")
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "PYTHONPATH=${PROJECT_SOURCE_DIR}/model/python;LONGWAVE_BUILD_DIR=${CMAKE_BINARY_DIR};${ARG_ENV}")
endfunction()
