// The entry points of libFuzzer: gale_fuzz TARGET [CORPUS] [-runs=N] [-seed=S] … . Where the compiler brings no
// libFuzzer, random_main.cpp calls them.
#include <cstddef>
#include <cstdint>
#include <iostream>

#include "fuzz_target.h"

namespace {

const gale::FuzzTarget* chosen = nullptr;

}  // namespace

// The target is the rest of a program name that begins with fuzz_, or the first argument, which is taken out: libFuzzer
// would read it as a corpus.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr std::string_view kPrefix = "fuzz_";
  std::string_view program = (*argv)[0];
  program.remove_prefix(program.rfind('/') + 1);
  const bool is_named = program.starts_with(kPrefix);
  const std::string_view name = is_named ? program.substr(kPrefix.size()) : *argc > 1 ? (*argv)[1] : "";
  for (const gale::FuzzTarget& target : gale::fuzz_targets()) {
    if (target.name == name) chosen = &target;
  }
  if (chosen == nullptr) {
    std::cerr << "usage: " << (*argv)[0] << " TARGET [CORPUS] [-runs=N] [-seed=S]; targets:";
    for (const gale::FuzzTarget& target : gale::fuzz_targets()) std::cerr << " " << target.name;
    std::cerr << "\n";
    std::exit(2);
  }
  if (is_named) return 0;
  (*argv)[1] = (*argv)[0];
  ++*argv;
  --*argc;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chosen->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
