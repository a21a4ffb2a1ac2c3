# ThreadSanitizer has to be shown the mutexes of Abseil, which is built without it. To be included once packages can be found.
if(LONGWAVE_SANITIZER STREQUAL "thread")
  find_package(absl REQUIRED)
  add_library(longwave_tsan_mutex OBJECT "${PROJECT_SOURCE_DIR}/tests/tsan/absl_mutex.cc")
  target_link_libraries(longwave_tsan_mutex PUBLIC absl::synchronization absl::time ${CMAKE_DL_LIBS})
endif()

# longwave_sanitize(TARGET): for every program that is to run under a sanitizer.
function(longwave_sanitize target)
  if(TARGET longwave_tsan_mutex)
    target_link_libraries(${target} PRIVATE longwave_tsan_mutex)
  endif()
endfunction()
