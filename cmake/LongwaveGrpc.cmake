# gRPC, protobuf and their code generators, from the system's packages.
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(absl REQUIRED)
find_program(LONGWAVE_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

# longwave_proto_library(NAME ROOT DIR FILES a.proto ... [GRPC] [PUBLIC ...]): messages, and services with GRPC, as one static library.
# DIR is the import root; generated headers are included by the same relative path. Warnings are off: this is not our code.
function(longwave_proto_library name)
  cmake_parse_arguments(ARG "GRPC" "ROOT" "FILES;PUBLIC" ${ARGN})
  set(out "${CMAKE_BINARY_DIR}/proto_gen")
  file(MAKE_DIRECTORY "${out}")
  set(sources "")
  foreach(file IN LISTS ARG_FILES)
    string(REGEX REPLACE "\\.proto$" "" stem "${file}")
    set(generated "${out}/${stem}.pb.cc" "${out}/${stem}.pb.h")
    set(grpc_args "")
    if(ARG_GRPC)
      list(APPEND generated "${out}/${stem}.grpc.pb.cc" "${out}/${stem}.grpc.pb.h")
      # generate_mock_code is off: tests speak to real servers.
      set(grpc_args "--grpc_out=${out}" "--plugin=protoc-gen-grpc=${LONGWAVE_GRPC_CPP_PLUGIN}")
    endif()
    add_custom_command(
      OUTPUT ${generated}
      COMMAND protobuf::protoc "--proto_path=${ARG_ROOT}" "--cpp_out=${out}" ${grpc_args} "${file}"
      DEPENDS "${ARG_ROOT}/${file}"
      VERBATIM)
    list(APPEND sources ${generated})
  endforeach()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} SYSTEM PUBLIC "${out}")
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf ${ARG_PUBLIC})
  if(ARG_GRPC)
    target_link_libraries(${name} PUBLIC gRPC::grpc++)
  endif()
  string(REGEX REPLACE "^longwave_" "" suffix ${name})
  add_library(longwave::${suffix} ALIAS ${name})
endfunction()
