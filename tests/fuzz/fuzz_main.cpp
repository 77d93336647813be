// The entry points of libFuzzer: gale_fuzz TARGET [CORPUS] [-runs=N] [-seed=S] … . Where the compiler brings no
// libFuzzer, random_main.cpp calls them.
#include <cstddef>
#include <cstdint>
#include <iostream>

#include "fuzz_target.h"

namespace {

const gale::FuzzTarget* chosen = nullptr;

}  // namespace

// The target's name is taken out of the arguments: libFuzzer would read it as a corpus.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  const std::string_view name = *argc > 1 ? (*argv)[1] : "";
  for (const gale::FuzzTarget& target : gale::fuzz_targets()) {
    if (target.name == name) chosen = &target;
  }
  if (chosen == nullptr) {
    std::cerr << "usage: " << (*argv)[0] << " TARGET [CORPUS] [-runs=N] [-seed=S]; targets:";
    for (const gale::FuzzTarget& target : gale::fuzz_targets()) std::cerr << " " << target.name;
    std::cerr << "\n";
    std::exit(2);
  }
  (*argv)[1] = (*argv)[0];
  ++*argv;
  --*argc;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chosen->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
