# Every dependency of gale: what, which version, from where, under which licence. docs/third-party.md is the readable
# copy; a shape test holds the two together. Debian packages come by version range, PyPI files by hash.
set(CMAKE_FIND_PACKAGE_PREFER_CONFIG OFF)
set(OPENSSL_USE_STATIC_LIBS ON)
find_package(Threads REQUIRED)
find_package(Boost 1.81...<2 REQUIRED)            # BSL-1.0: Asio and Beast, headers only
find_package(OpenSSL 3.0 REQUIRED)                # Apache-2.0: SHA-256 of block hashes, TLS
find_package(nlohmann_json 3.11 REQUIRED)         # MIT
find_package(tl-expected REQUIRED)                # CC0-1.0
find_package(Protobuf 3.21 REQUIRED)              # BSD-3-Clause: libprotobuf-lite and protoc

# A Debian archive libX.a as a target; Debian has CMake files for the shared ones only.
function(static_library target archive)
  find_library(${target}_archive ${archive} REQUIRED)
  add_library(${target} STATIC IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${${target}_archive} INTERFACE_LINK_LIBRARIES "${ARGN}")
endfunction()
static_library(pcre2 libpcre2-8.a)                # BSD-3-Clause
static_library(utf8proc libutf8proc.a)            # MIT
static_library(protobuf_lite libprotobuf-lite.a Threads::Threads)

if(GALE_TESTS)
  find_package(GTest 1.12 REQUIRED)               # BSD-3-Clause, tests only
  include(GoogleTest)
endif()

# --- PyPI: pinned, checked, unpacked once outside the source tree -----------------------------------------------------
set(GALE_DOWNLOADS $ENV{HOME}/.cache/gale CACHE PATH "where PyPI files are unpacked")
# Sets <package>_DIR; ARGN: patterns of what to unpack, each must match.
function(pypi package version sha256)
  set(dir ${GALE_DOWNLOADS}/${package}-${version}-${sha256})
  if(NOT EXISTS ${dir}/complete)
    message(STATUS "fetching ${package} ${version} from PyPI into ${dir}")
    file(REMOVE_RECURSE ${dir})
    file(WRITE ${dir}/pin.txt "${package}==${version} --hash=sha256:${sha256}\n")
    # The stub build backends in cmake/sdist keep pip from fetching and running a source package's own backend.
    execute_process(COMMAND_ERROR_IS_FATAL ANY
      COMMAND ${CMAKE_COMMAND} -E env PYTHONPATH=${CMAKE_SOURCE_DIR}/cmake/sdist
              python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes
              --no-build-isolation --no-binary llama-cpp-python,pysimdjson,xgrammar -r ${dir}/pin.txt -d ${dir}/file)
    file(GLOB file ${dir}/file/*)
    file(ARCHIVE_EXTRACT INPUT ${file} DESTINATION ${dir} PATTERNS ${ARGN})
    file(TOUCH ${dir}/complete)
  endif()
  file(REAL_PATH ${dir} dir)
  set(${package}_DIR ${dir} PARENT_SCOPE)
endfunction()

function(foreign name)                            # a static library of other people's sources: our flags, no warnings
  add_library(${name} STATIC ${ARGN})
  target_compile_options(${name} PRIVATE -w)
  set_target_properties(${name} PROPERTIES CXX_CLANG_TIDY "")
endfunction()

set(llama llama_cpp_python-0.3.36/vendor/llama.cpp)   # MIT: the Jinja engine
pypi(llama-cpp-python 0.3.36 832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
     ${llama}/common/jinja ${llama}/common/json.* ${llama}/common/unicode.* ${llama}/models/templates/GLM*
     ${llama}/LICENSE)
set(llama ${llama-cpp-python_DIR}/${llama})
set(GALE_LLAMA_TEMPLATES ${llama}/models/templates)
file(GLOB sources ${llama}/common/jinja/*.cpp)
foreign(jinja ${sources} ${llama}/common/json.cpp ${llama}/common/unicode.cpp)
# Never common/jinja: its string.h would hide the C one.
target_include_directories(jinja SYSTEM PUBLIC ${llama}/common PRIVATE cmake/stub cmake/stub/jinja)
target_link_libraries(jinja PUBLIC nlohmann_json::nlohmann_json)
target_compile_options(jinja PRIVATE -include ${CMAKE_SOURCE_DIR}/src/base/json_memory.h)

# Apache-2.0: grammars to token masks; with DLPack's header (Apache-2.0), picojson (BSD-2-Clause)
set(xgrammar xgrammar-0.2.8)
pypi(xgrammar 0.2.8 8305646fd2b319d6c3003f51a1665e54cbbe9cba1fb636bc41d0b46434ccbb80
     ${xgrammar}/cpp ${xgrammar}/include ${xgrammar}/3rdparty/picojson ${xgrammar}/3rdparty/dlpack/include
     ${xgrammar}/LICENSE)
set(xgrammar ${xgrammar_DIR}/${xgrammar})
file(GLOB_RECURSE sources ${xgrammar}/cpp/*.cc)
list(FILTER sources EXCLUDE REGEX "/tvm_ffi/")    # its Python binding
foreign(xgrammar ${sources} cmake/stub/xgrammar_log.cpp)
target_include_directories(xgrammar SYSTEM PUBLIC ${xgrammar}/include ${xgrammar}/3rdparty/dlpack/include
                           PRIVATE ${xgrammar}/3rdparty/picojson ${xgrammar}/cpp)
target_compile_definitions(xgrammar PUBLIC XGRAMMAR_ENABLE_CPPTRACE=0 XGRAMMAR_LOG_CUSTOMIZE=1)
target_link_libraries(xgrammar PUBLIC Threads::Threads)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)           # in C++20 it wants types complete that xgrammar completes later
  set_target_properties(xgrammar PROPERTIES CXX_STANDARD 17)
endif()

# Apache-2.0. Debian has no archive of simdjson, only a shared object.
pypi(pysimdjson 7.0.2 44cf276e48912a3b9c7ca362c14da8420a7ac15a9f1a16ec95becff86db3904a
     pysimdjson-7.0.2/simdjson/simdjson.* pysimdjson-7.0.2/LICENSE)
foreign(simdjson ${pysimdjson_DIR}/pysimdjson-7.0.2/simdjson/simdjson.cpp)
target_include_directories(simdjson SYSTEM PUBLIC ${pysimdjson_DIR}/pysimdjson-7.0.2/simdjson)

# --- Debian libraries without an archive: compiled once from their headers --------------------------------------------
# MIT, fmt >= 9. Header-only fmt would cost 2.4 s in every file that formats.
find_path(fmt_headers fmt/format.h REQUIRED)
foreign(fmt cmake/stub/fmt.cpp)
find_path(spdlog_headers spdlog/spdlog.h REQUIRED)    # MIT, spdlog >= 1.10: included by base/log.cpp alone
add_library(spdlog_header_only INTERFACE)
target_compile_definitions(spdlog_header_only INTERFACE SPDLOG_FMT_EXTERNAL)
find_path(tomlplusplus_headers toml++/toml.h REQUIRED)   # MIT

# --- for building only ------------------------------------------------------------------------------------------------
pypi(mistune 3.4.0 d03cec4c8620f21517a996d82d14f3b59c30d79bda2cc6c56bd32b839f18ce6b
     mistune/* mistune-3.4.0.dist-info/licenses/LICENSE)   # BSD-3-Clause

# NVIDIA CUDA Toolkit EULA: its compiler, for machines that have a card and a driver but no toolkit. Sets `result` to
# a folder like /usr/local/cuda, made of the wheels' files by hard links.
function(cuda_of_pypi result)
  pypi(nvidia-cuda-nvcc 13.0.88 56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03 nvidia/* *License.txt)
  pypi(nvidia-nvvm 13.0.88 c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0 nvidia/* *License.txt)
  pypi(nvidia-cuda-crt 13.0.88 2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4 nvidia/* *License.txt)
  pypi(nvidia-cuda-runtime 13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 nvidia/*
       *License.txt)
  pypi(nvidia-cuda-cccl 13.0.85 e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649 nvidia/* *License.txt)
  set(toolkit ${GALE_DOWNLOADS}/cuda-13.0.88)
  if(NOT EXISTS ${toolkit}/complete)
    file(REMOVE_RECURSE ${toolkit})
    file(MAKE_DIRECTORY ${toolkit})
    foreach(wheel nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl)
      execute_process(COMMAND cp -alf ${${wheel}_DIR}/nvidia/cu13/. ${toolkit} COMMAND_ERROR_IS_FATAL ANY)
    endforeach()
    file(CREATE_LINK lib ${toolkit}/lib64 SYMBOLIC)   # where nvcc looks
    file(TOUCH ${toolkit}/complete)
  endif()
  set(${result} ${toolkit} PARENT_SCOPE)
endfunction()
