// How fast text becomes ids, on one core: tokenizer_bench TOKENIZER_JSON TEXT_FILE [seconds]. Counts the processor's
// time, so that other work on the machine does not slow the figure down by much.

#include <time.h>

#include <cstdlib>
#include <iostream>
#include <string>

#include "base/mapped_file.h"
#include "tokenizer/tokenizer.h"

namespace gale {
namespace {

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

int run(const std::string& tokenizer_path, const std::string& text_path, double seconds) {
  const double load_start = processor_seconds();
  const auto tokenizer = Tokenizer::load(tokenizer_path);
  const double load_seconds = processor_seconds() - load_start;
  const auto text = read_file(text_path, size_t{1} << 30);
  if (!tokenizer || !text) {
    std::cerr << (tokenizer ? text.error() : tokenizer.error()).message << "\n";
    return 3;
  }
  size_t num_tokens = (*tokenizer)->encode(*text, AddedTokens::kMatch).size();   // once to warm up
  const double start = processor_seconds();
  int rounds = 0;
  while (rounds == 0 || processor_seconds() - start < seconds) {
    num_tokens = (*tokenizer)->encode(*text, AddedTokens::kMatch).size();
    ++rounds;
  }
  const double megabytes = static_cast<double>(text->size()) * rounds / 1e6;
  std::cout << "load " << load_seconds * 1e3 << " ms; " << text->size() << " bytes, " << num_tokens << " tokens; "
            << megabytes / (processor_seconds() - start) << " MB/s over " << rounds << " rounds\n";
  return 0;
}

}  // namespace
}  // namespace gale

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::cerr << "usage: tokenizer_bench TOKENIZER_JSON TEXT_FILE [seconds]\n";
    return 2;
  }
  return gale::run(argv[1], argv[2], argc == 4 ? std::atof(argv[3]) : 3.0);
}
