# The tables of `gale tune` that come with the program, and a digest of the sources that a product's time depends on.
set(cuda_folder ${CMAKE_SOURCE_DIR}/src/backends/cuda)
file(GLOB kernel_tables CONFIGURE_DEPENDS ${cuda_folder}/tables/*.jsonl)
file(GLOB kernel_sources CONFIGURE_DEPENDS ${cuda_folder}/*gemm*.cu ${cuda_folder}/linear*.cu ${cuda_folder}/moe*.cu
     ${cuda_folder}/device/*gemm*.cuh ${cuda_folder}/device/hopper.cuh ${cuda_folder}/device/wgmma*.cuh
     ${cuda_folder}/device/fragments.cuh ${cuda_folder}/*_plan.h ${cuda_folder}/product_plan.cpp)
set(kernel_tables_data ${CMAKE_BINARY_DIR}/generated/cuda/kernel_tables_data.cpp)
add_custom_command(OUTPUT ${kernel_tables_data}
                   DEPENDS ${kernel_tables} ${kernel_sources} ${CMAKE_SOURCE_DIR}/cmake/embed_kernel_tables.py
                   COMMAND python3 ${CMAKE_SOURCE_DIR}/cmake/embed_kernel_tables.py ${kernel_tables_data}
                           ${cuda_folder}/tables ${kernel_sources})
target_sources(cuda PRIVATE ${kernel_tables_data})
