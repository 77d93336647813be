#pragma once

#include <string>

#include "net/proxy.h"

namespace gale {

// Where models that are named as on the Hugging Face Hub come from, and where they are kept.
struct HubConfig {
  std::string endpoint = "https://huggingface.co";   // or a mirror
  std::string home;                                  // huggingface_hub's folder: holds the token, too
  std::string cache_dir;                             // empty: `home`/hub
  std::string token;                                 // empty: the one in `home`/token, if there is one
  std::string revision = "main";                     // a branch, tag or commit
  ProxyConfig proxy;                                 // of the environment
  bool is_offline = false;                           // take what is in the cache, open no connection
};

}   // namespace gale
