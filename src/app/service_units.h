#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace gale {

// What the units are made for: the options of `gale service`, with all paths made whole.
struct ServicePlan {
  ServiceConfig service;
  std::string program;                 // this program, by its path
  LogFormat log_format = LogFormat::kText;
  std::string account;                 // whom systemd runs it as; empty: a user made for it
};

struct UnitFile {
  std::string path;
  std::string text;
  bool is_secret = false;              // holds the page's password: for its owner's eyes only
};

// The places of a front under supervisor: one serves, the other is for the one that takes over from it.
inline constexpr const char* kFirstFront = "gale";
inline constexpr const char* kSecondFront = "gale-2";

// An own supervisord in the service's folder: front (which starts its engine) and page, each restarted for itself.
[[nodiscard]] UnitFile supervisor_file(const ServicePlan& plan);

// gale.service, gale-ui.service and, if there is a password, its environment file.
[[nodiscard]] std::vector<UnitFile> systemd_files(const ServicePlan& plan);

}  // namespace gale
