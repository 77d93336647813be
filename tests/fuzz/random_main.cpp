// What stands in for libFuzzer with compilers that have none: every file of the corpus, then -runs=N random changes of
// them. Blind, so it finds less, but it keeps what was found once from coming back. An input that ends the process is
// left as crash-input in the working folder.
#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

constexpr size_t kMaxInput = 4096;
std::string current;   // what is being run, for keep_input

void keep_input() {
  std::ofstream("crash-input", std::ios::binary).write(current.data(), static_cast<std::streamsize>(current.size()));
}
void on_abort(int) { keep_input(); }

void run(std::string input) {
  current = std::move(input);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(current.data()), current.size());
}

std::vector<std::string> read_corpus(const std::string& folder) {
  std::vector<std::string> inputs;
  const std::filesystem::directory_iterator entries(folder);
  std::vector<std::filesystem::path> paths(begin(entries), end(entries));
  std::sort(paths.begin(), paths.end());   // a folder has no order of its own: one seed, one run
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  if (inputs.empty()) inputs.emplace_back();
  return inputs;
}

// One of: a byte changed, a stretch lost, doubled or taken from another input, a token of many grammars put in.
std::string changed(std::string text, const std::vector<std::string>& corpus, std::mt19937_64& random) {
  constexpr std::string_view kTokens[] = {"\"",    "{",
                                          "}",     "[",
                                          "]",     ":",
                                          ",",     "\\",
                                          "\n",    "\r\n",
                                          "0",     "-1",
                                          "1e999", "null",
                                          "true",  "18446744073709551616",
                                          "\xff",  "\xed\xa0\x80",
                                          "{{",    "}}",
                                          "{%",    "%}"};
  const auto below = [&random](size_t bound) { return bound == 0 ? size_t{0} : static_cast<size_t>(random() % bound); };
  for (size_t changes = 1 + below(4); changes > 0; --changes) {
    const size_t at = below(text.size() + 1), length = below(text.size() - at + 1);
    const std::string& other = corpus[below(corpus.size())];
    switch (below(6)) {
      case 0: if (at < text.size()) text[at] = static_cast<char>(random() % 256); break;
      case 1: text.erase(at, 1 + below(8)); break;
      case 2: text.insert(at, text.substr(at, std::min<size_t>(length, 64))); break;
      case 3: text.insert(at, other.substr(below(other.size() + 1), 1 + below(32))); break;
      case 4: text.insert(at, kTokens[below(std::size(kTokens))]); break;
      default: text.resize(at); break;
    }
  }
  text.resize(std::min(text.size(), kMaxInput));
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  LLVMFuzzerInitialize(&argc, &argv);
  std::string folder;
  long runs = 0;
  unsigned long seed = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("-runs=")) runs = std::atol(argv[i] + 6);
    else if (argument.starts_with("-seed=")) seed = std::strtoul(argv[i] + 6, nullptr, 10);
    else if (argument.starts_with("-")) std::cerr << "without libFuzzer " << argument << " means nothing\n";
    else folder = argument;
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(keep_input);
  std::signal(SIGABRT, on_abort);
  const std::vector<std::string> corpus = folder.empty() ? std::vector<std::string>(1) : read_corpus(folder);
  for (const std::string& input : corpus) run(input);
  std::mt19937_64 random(seed);
  for (long i = 0; i < runs; ++i) run(changed(corpus[random() % corpus.size()], corpus, random));
  std::cout << "Done " << corpus.size() << " inputs of the corpus and " << runs << " changes of them\n";
}
