# The guide: docs/ as web pages in one generated source file of layer server, made of Markdown by mistune at build time.
file(GLOB_RECURSE guide_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/*)
set(guide_data ${CMAKE_BINARY_DIR}/generated/server/guide_data.cpp)
add_custom_command(OUTPUT ${guide_data}
                   DEPENDS ${guide_sources} ${CMAKE_SOURCE_DIR}/cmake/embed_guide.py
                           ${CMAKE_SOURCE_DIR}/cmake/embed_assets.py ${CMAKE_SOURCE_DIR}/web/icon.svg
                   COMMAND python3 ${CMAKE_SOURCE_DIR}/cmake/embed_guide.py ${CMAKE_SOURCE_DIR}/docs ${mistune_DIR}
                           ${guide_data})
target_sources(server PRIVATE ${guide_data})
