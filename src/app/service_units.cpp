#include "app/service_units.h"

#include <fmt/format.h>

#include "config/command_line.h"

namespace gale {
namespace {

constexpr std::string_view kSystemdFolder = "/etc/systemd/system";
constexpr std::string_view kPasswordFile = "/etc/gale/ui.env";

Config front_config(const ServicePlan& plan, const std::string& runtime_dir) {
  Config out;
  out.serve.runtime_dir = runtime_dir;
  out.engine.model_dir = plan.service.model;
  out.server.http.host = plan.service.host;
  out.server.http.port = plan.service.port;
  out.serve.takes_over = true;         // the one that runs, if one does: so it is upgraded
  out.log_format = plan.log_format;
  return out;
}

Config page_config(const ServicePlan& plan) {
  Config out;
  out.ui.http.host = plan.service.ui_host;
  out.ui.http.port = plan.service.ui_port;
  out.log_format = plan.log_format;
  const std::string& host = plan.service.host;
  out.ui.api_url =
      fmt::format("http://{}:{}", host.empty() || host == "0.0.0.0" ? "127.0.0.1" : host, plan.service.port);
  return out;
}

std::string command_line(const ServicePlan& plan, std::string_view command, Command kind, const Config& config) {
  std::string out = fmt::format("{} {}", plan.program, command);
  for (const std::string& argument : arguments_for(kind, config)) out += " " + argument;
  return out;
}

// In both worlds a percent sign begins something; nothing else is special in a path without blanks.
std::string escaped(std::string text) {
  for (size_t at = text.find('%'); at != std::string::npos; at = text.find('%', at + 2)) text.insert(at, 1, '%');
  return text;
}

// A front that left to its successor ends with 0 and is not started again; the page is, however it ended.
std::string supervisor_program(std::string_view name, const std::string& command, const std::string& folder,
                               std::string_view more) {
  return fmt::format(R"(
[program:{0}]
command={1}
startsecs=1
startretries=3
stopsignal=TERM
stopwaitsecs=45
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile={2}/logs/{0}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=5
{3})", name, escaped(command), escaped(folder), more);
}

constexpr std::string_view kHardening = R"(NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
LimitNOFILE=1048576
LimitCORE=0
)";

std::string user_line(const ServicePlan& plan) {
  return plan.account.empty() ? "DynamicUser=yes\n" : fmt::format("User={}\n", plan.account);
}

}  // namespace

UnitFile supervisor_file(const ServicePlan& plan) {
  const std::string& folder = plan.service.folder;
  const std::string password = plan.service.password.empty()
                                   ? ""
                                   : fmt::format("environment=GALE_PASSWORD=\"{}\"\n", escaped(plan.service.password));
  std::string text = fmt::format(R"(; Written by gale service install. Start: supervisord -c {0}/supervisord.conf
[unix_http_server]
file={0}/supervisor.sock
chmod=0700

[supervisord]
logfile={0}/logs/supervisord.log
logfile_maxbytes=20MB
logfile_backups=3
pidfile={0}/supervisord.pid
childlogdir={0}/logs
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{0}/supervisor.sock
)", escaped(folder));
  // The front drains for 30 s; its engine leaves with it, so that only a kill has to reach the group.
  // Two places for it, of which one is taken: an upgrade starts the other, which takes over.
  const std::string front = command_line(plan, "serve", Command::kServe, front_config(plan, folder + "/run"));
  constexpr std::string_view kFront = "autorestart=unexpected\nexitcodes=0\npriority=10\n";
  text += supervisor_program(kFirstFront, front, folder, fmt::format("autostart=true\n{}", kFront));
  text += supervisor_program(kSecondFront, front, folder, fmt::format("autostart=false\n{}", kFront));
  text += supervisor_program("gale-ui", command_line(plan, "ui", Command::kUi, page_config(plan)), folder,
                             "autostart=true\nautorestart=true\npriority=20\n" + password);
  return {folder + "/supervisord.conf", std::move(text), true};
}

std::vector<UnitFile> systemd_files(const ServicePlan& plan) {
  std::vector<UnitFile> out;
  // Not killed by group: the engine leaves when its channel closes.
  out.push_back({fmt::format("{}/gale.service", kSystemdFolder), fmt::format(R"([Unit]
Description=gale, an inference server for GLM models
After=network.target
StartLimitIntervalSec=600
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={}
# Starts the program that lies there now, which takes over; this one says who is the main process then, and leaves.
ExecReload=/bin/kill -USR2 $MAINPID
RuntimeDirectory=gale
RuntimeDirectoryMode=0700
Restart=on-failure
RestartSec=1
WatchdogSec=30
TimeoutStartSec=infinity
TimeoutStopSec=45
KillMode=mixed
{}{}
[Install]
WantedBy=multi-user.target
)", escaped(command_line(plan, "serve", Command::kServe, front_config(plan, ""))), kHardening, user_line(plan))});
  const std::string password = plan.service.password.empty() ? "" : fmt::format("EnvironmentFile={}\n", kPasswordFile);
  out.push_back({fmt::format("{}/gale-ui.service", kSystemdFolder), fmt::format(R"([Unit]
Description=The web page of gale
After=network.target
StartLimitIntervalSec=600
StartLimitBurst=10

[Service]
Type=exec
ExecStart={}
Restart=always
RestartSec=1
TimeoutStopSec=10
{}{}{}
[Install]
WantedBy=multi-user.target
)", escaped(command_line(plan, "ui", Command::kUi, page_config(plan))), password, kHardening,
                                         user_line(plan))});
  if (!password.empty())
    out.push_back({std::string(kPasswordFile), fmt::format("GALE_PASSWORD={}\n", plan.service.password), true});
  return out;
}

}  // namespace gale
