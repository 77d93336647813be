# The wall. layer(name [DIR folder] [DEPS layers] [USES layers] [LIBS targets] [PRIVATE_LIBS targets] [TEST_USES layers]
# [USES_IF_BUILT layers]):
# one folder, one target. A target's include root holds one link, to its own folder; the roots of DEPS (for headers and
# sources) and USES (sources only) are added to it, so a header of any other layer cannot be found.
# LIBS are libraries that headers mention, PRIVATE_LIBS those only sources use. TEST_USES: layers only the tests see.
# USES_IF_BUILT: USES that this build may leave out; <name>_with_cuda.cpp and <name>_without_cuda.cpp are the two sides
# of such a choice.
set_property(GLOBAL PROPERTY GLOBAL_DEPENDS_NO_CYCLES ON)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)

function(layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "DIR" "DEPS;USES;USES_IF_BUILT;LIBS;PRIVATE_LIBS;TEST_USES")
  foreach(optional IN LISTS arg_USES_IF_BUILT)
    if(TARGET ${optional})
      list(APPEND arg_USES ${optional})
    endif()
  endforeach()
  if(NOT arg_DIR)
    set(arg_DIR ${name})
  endif()
  if(NOT name STREQUAL "base")
    list(APPEND arg_DEPS base)
  endif()
  foreach(target IN LISTS arg_DEPS arg_USES arg_LIBS arg_PRIVATE_LIBS arg_UNPARSED_ARGUMENTS)
    # Else CMake takes a misspelt layer for -l<name>, and archives are never linked.
    if(NOT TARGET ${target})
      message(FATAL_ERROR "layer ${name}: '${target}' is no target above this line")
    endif()
  endforeach()
  set(root ${CMAKE_BINARY_DIR}/include/${name})
  cmake_path(GET arg_DIR PARENT_PATH parent)
  file(MAKE_DIRECTORY ${root}/${parent})
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/src/${arg_DIR} ${root}/${arg_DIR} SYMBOLIC)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${root}/${arg_DIR}/*.h)
  # What only tests share sees what tests see; internal headers see what the layer's own sources see.
  list(FILTER headers EXCLUDE REGEX "_(testing|internal)\\.h$")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/${arg_DIR}/*.cpp)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$|/main\\.cpp$")
  if(GALE_CUDA)                                  # two builds are two files
    list(FILTER sources EXCLUDE REGEX "_without_cuda\\.cpp$")
  else()
    list(FILTER sources EXCLUDE REGEX "_with_cuda\\.cpp$")
  endif()
  if(NOT sources)                                # a folder of headers only
    set(sources ${CMAKE_BINARY_DIR}/empty.cpp)
    file(CONFIGURE OUTPUT ${sources} CONTENT "")
  endif()
  add_library(${name} STATIC ${sources})
  set_target_properties(${name} PROPERTIES OUTPUT_NAME gale_${name})   # 'cuda' must not become libcuda.a
  target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${root} FILES ${headers})
  target_link_libraries(${name} PUBLIC ${arg_DEPS} ${arg_LIBS} PRIVATE ${arg_USES} ${arg_PRIVATE_LIBS} gale_warnings)
  if(tests AND GALE_TESTS)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE ${name} ${arg_USES} ${arg_PRIVATE_LIBS} ${arg_TEST_USES} gale_warnings
                          GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE GALE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 300)
  endif()
endfunction()
