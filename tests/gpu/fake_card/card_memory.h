#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace fake_card {

// A card that is a folder ($GALE_FAKE_CARD): the file `card` says what it is, a line "name value" each; `held/PID`
// holds the bytes that a process has taken of it. What dead processes held is free again.
class Card {
 public:
  static Card& instance();

  [[nodiscard]] std::string text(const std::string& name, const std::string& otherwise) const;
  [[nodiscard]] long long number(const std::string& name, long long otherwise) const;
  [[nodiscard]] size_t total_bytes() const;
  [[nodiscard]] size_t free_bytes() const;

  // False if there is not so much left.
  [[nodiscard]] bool take(size_t num_bytes);
  void give_back(size_t num_bytes);

 private:
  Card();
  [[nodiscard]] size_t held_bytes() const;
  void write_own() const;

  std::string folder_;
  std::map<std::string, std::string> facts_;
  std::mutex mutex_;
  size_t own_bytes_ = 0;
};

}  // namespace fake_card
