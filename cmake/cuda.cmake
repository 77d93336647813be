# CUDA, if a toolkit is there. Sets GALE_CUDA; without nvcc the CPU part is built and one line says so. Kernels are compiled where
# neither a GPU nor a driver is: cudart is linked statically and finds the driver at run time.
option(GALE_WITH_CUDA "build the CUDA backend if a toolkit is found" OFF)
set(GALE_CUDA OFF)
if(NOT GALE_WITH_CUDA)
  return()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(STATUS "no CUDA toolkit (nvcc) found: building the CPU part only")
  return()
endif()
set(GALE_CUDA ON)
set(CMAKE_CUDA_ARCHITECTURES 90a)                 # of compiler checks only; kernels() sets its own
enable_language(CUDA)
# CMake 3.25 knows no C++20 for nvcc: CMAKE_CUDA_STANDARD 20 would compile as C++17 without a word.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set_property(GLOBAL APPEND PROPERTY JOB_POOLS kernels=2)   # heavy kernels take gigabytes of compiler memory each
cmake_path(GET CMAKE_CUDA_COMPILER PARENT_PATH cuda_bin)
find_path(cuda_headers cuda_runtime.h REQUIRED HINTS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${cuda_bin}/../include)
find_library(cudart_archive cudart_static REQUIRED HINTS ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} ${cuda_bin}/../lib64)
add_library(cudart INTERFACE)
target_include_directories(cudart SYSTEM INTERFACE ${cuda_headers})
target_link_libraries(cudart INTERFACE ${cudart_archive} Threads::Threads dl rt)

# Compiles the .cu files of a layer for these architectures and adds the objects to it.
function(kernels layer architectures)
  string(MAKE_C_IDENTIFIER "${layer}_${architectures}" name)
  add_library(${name} OBJECT ${ARGN})
  set_target_properties(${name} PROPERTIES CUDA_ARCHITECTURES "${architectures}" JOB_POOL_COMPILE kernels)
  # fmt 9 and nvcc: format strings are checked at run time in .cu files; elsewhere the compiler checks them.
  target_compile_definitions(${name} PRIVATE FMT_USE_CONSTEXPR=1 FMT_CONSTEVAL=)
  target_compile_options(${name} PRIVATE --expt-relaxed-constexpr -diag-suppress=177,2908)
  target_include_directories(${name} PRIVATE $<TARGET_PROPERTY:${layer},INCLUDE_DIRECTORIES>)
  target_sources(${layer} PRIVATE $<TARGET_OBJECTS:${name}>)
endfunction()
