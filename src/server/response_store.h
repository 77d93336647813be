#pragma once

#include <list>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "api/openai_responses.h"

namespace gale {

// Finished responses by owner and id, for as long as all of them fit a bound in bytes; beyond it the least recently
// used go. Thread-safe.
class ResponseStore {
 public:
  explicit ResponseStore(size_t max_bytes) : max_bytes_(max_bytes) {}

  void put(const std::string& owner, StoredResponse response);
  // kNotFound for one that is gone, was never there, or is somebody else's: no difference is told.
  [[nodiscard]] Result<StoredResponse> find(const std::string& owner, const std::string& id);
  [[nodiscard]] Status erase(const std::string& owner, const std::string& id);

 private:
  using Key = std::pair<std::string, std::string>;   // owner, id
  struct Entry {
    StoredResponse stored;
    size_t num_bytes = 0;
    std::list<Key>::iterator use;
  };
  void drop(std::map<Key, Entry>::iterator entry);

  const size_t max_bytes_;
  std::mutex mutex_;                               // guards what follows
  std::map<Key, Entry> entries_;
  std::list<Key> uses_;                            // the most recently used first
  size_t num_bytes_ = 0;
};

}  // namespace gale
