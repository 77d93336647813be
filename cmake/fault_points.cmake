# The files that hold fault points (src/base/fault_point.h). Test builds alone have them: GALE_FAULT_POINTS.
option(GALE_FAULT_POINTS "named places where tests let things fail; not for programs that serve" OFF)
if(GALE_FAULT_POINTS)
  set_source_files_properties(
    src/app/app.cpp
    src/base/fault_point.cpp
    src/base/mapped_file.cpp
    src/channel/framed_socket.cpp
    src/channel/socket_channel.cpp
    src/engine/engine_loop.cpp
    src/net/connection.cpp
    src/net/http_server.cpp
    src/server/api_server.cpp
    src/server/serving_metrics.cpp
    src/serving/child_process.cpp
    src/serving/engine_supervisor.cpp
    src/serving/session.cpp
    PROPERTIES COMPILE_DEFINITIONS GALE_FAULT_POINTS)
endif()
