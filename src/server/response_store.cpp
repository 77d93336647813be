#include "server/response_store.h"

#include "api/request_reader.h"

namespace gale {
namespace {

tl::unexpected<Error> not_there(const std::string& id) {
  return fail_param(ErrorCode::kNotFound, "previous_response_id", "response {} is not stored here (any more)",
                    brief(Json(id)));
}

}  // namespace

void ResponseStore::put(const std::string& owner, StoredResponse response) {
  // A tree takes a few times what its text does; the text is what a bound can speak of.
  const size_t num_bytes = dump_json(response.response).size() + dump_json(response.items).size();
  if (num_bytes > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  Key key{owner, response.response["id"].get<std::string>()};
  uses_.push_front(key);
  entries_.emplace(std::move(key), Entry{std::move(response), num_bytes, uses_.begin()});
  num_bytes_ += num_bytes;
  while (num_bytes_ > max_bytes_) drop(entries_.find(uses_.back()));
}

Result<StoredResponse> ResponseStore::find(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find({owner, id});
  if (entry == entries_.end()) return not_there(id);
  uses_.splice(uses_.begin(), uses_, entry->second.use);
  return entry->second.stored;
}

Status ResponseStore::erase(const std::string& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find({owner, id});
  if (entry == entries_.end()) return not_there(id);
  drop(entry);
  return {};
}

void ResponseStore::drop(std::map<Key, Entry>::iterator entry) {
  num_bytes_ -= entry->second.num_bytes;
  uses_.erase(entry->second.use);
  entries_.erase(entry);
}

}  // namespace gale
