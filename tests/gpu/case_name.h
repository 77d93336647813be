#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace gale {

// The name of a test's case from a model's path.
inline std::string name_of_case(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param.substr(info.param.rfind('/') + 1);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace gale
