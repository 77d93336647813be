#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace gale {

// One model in the cache, laid out as huggingface_hub does it:
//   models--org--name/blobs/<etag>                 contents; <etag>.incomplete while they come
//   models--org--name/refs/<revision>              the commit that it is
//   models--org--name/snapshots/<commit>/<file>    links to blobs
//   .locks/models--org--name/<etag>.lock           held (flock) by whoever downloads it
// Names that come from outside must have been checked by the functions below.
class HubCache {
 public:
  HubCache(const std::string& cache_dir, const std::string& name);

  [[nodiscard]] std::string snapshot(const std::string& commit) const { return folder_ + "/snapshots/" + commit; }
  [[nodiscard]] std::string blob(const std::string& etag) const { return folder_ + "/blobs/" + etag; }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] bool has(const std::string& commit, const std::string& file) const;

  // The commit that a revision was when it was last asked for.
  [[nodiscard]] std::optional<std::string> commit_of(const std::string& revision) const;
  [[nodiscard]] Status set_commit(const std::string& revision, const std::string& commit) const;

  // Both take effect as a whole or not at all.
  [[nodiscard]] Status link(const std::string& commit, const std::string& file, const std::string& etag) const;
  [[nodiscard]] Status make_folders(const std::string& commit) const;
  // Waits for others, in other processes, too.
  [[nodiscard]] Result<UniqueFd> lock(const std::string& etag, const std::function<bool()>& is_cancelled) const;

 private:
  std::string folder_, locks_;
};

[[nodiscard]] bool is_commit(std::string_view text);     // 40 hex digits
[[nodiscard]] bool is_etag(std::string_view text);       // a name of a blob
[[nodiscard]] bool is_revision(std::string_view text);   // a path below refs/ that stays there
[[nodiscard]] bool is_plain_file_name(std::string_view text);
// Nothing but ASCII letters, digits and the characters of `more`.
[[nodiscard]] bool is_word(std::string_view text, std::string_view more);
[[nodiscard]] std::string without_trailing_space(std::string text);

}   // namespace gale
