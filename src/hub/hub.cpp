#include "hub/hub.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "base/json.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "hub/blob_download.h"

namespace gale {
namespace {

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kSingle = "model.safetensors";
// What gale reads besides weights. The first two must be there.
constexpr const char* kDescriptions[] = {"config.json", "tokenizer.json", "generation_config.json",
                                         "tokenizer_config.json", "chat_template.jinja"};
constexpr size_t kNumRequired = 2;
constexpr size_t kMaxIndexBytes = 100'000'000;
constexpr size_t kNumConnections = 4;   // one alone seldom fills a line

// The files of the weights, as the index names them.
Result<std::vector<std::string>> files_of_index(const std::string& path) {
  GALE_ASSIGN(const std::string text, read_file(path, kMaxIndexBytes));
  const Result<Json> json = parse_json(text);
  const bool has_map = json && json->is_object() && json->contains("weight_map") && (*json)["weight_map"].is_object();
  if (!has_map) return fail(ErrorCode::kCorrupt, "{}: no object \"weight_map\"", path);
  std::set<std::string> out;
  for (const auto& [tensor, file] : (*json)["weight_map"].items()) {
    if (!file.is_string() || !is_plain_file_name(file.get_ref<const std::string&>()))
      return fail(ErrorCode::kCorrupt, "{}: {} is in a file whose name leads out of the folder", path, tensor);
    out.insert(file.get<std::string>());
  }
  return std::vector<std::string>(out.begin(), out.end());
}

// A file of a snapshot that is needed and not there; empty: it is whole.
Result<std::string> first_missing(const HubCache& cache, const std::string& commit, bool has_weights) {
  for (size_t i = 0; i < kNumRequired; ++i) {
    if (!cache.has(commit, kDescriptions[i])) return std::string(kDescriptions[i]);
  }
  if (!has_weights || cache.has(commit, kSingle)) return std::string();
  if (!cache.has(commit, kIndex)) return std::string(kSingle);
  GALE_ASSIGN(const std::vector<std::string> files, files_of_index(cache.snapshot(commit) + "/" + kIndex));
  for (const std::string& file : files) {
    if (!cache.has(commit, file)) return file;
  }
  return std::string();
}

// What is whole in the cache; kNotFound says what is missing.
Result<std::string> find_in_cache(const HubCache& cache, const HubConfig& config, const HubWish& wish) {
  const std::optional<std::string> commit = cache.commit_of(config.revision);
  if (!commit) {
    return fail(ErrorCode::kNotFound, "{} (revision {}) is not in the cache {}", wish.name, config.revision,
                cache.folder());
  }
  GALE_ASSIGN(const std::string missing, first_missing(cache, *commit, wish.has_weights));
  if (missing.empty()) return cache.snapshot(*commit);
  return fail(ErrorCode::kNotFound, "{} is not whole in the cache {}: {} is missing", wish.name, cache.folder(),
              missing);
}

class ModelDownload {
 public:
  ModelDownload(const HubConfig& config, const HubWish& wish, const HubCache& cache)
      : config_(config), wish_(wish), cache_(cache), client_(config, wish.name) {}

  [[nodiscard]] Result<std::string> run();

 private:
  [[nodiscard]] Result<std::vector<std::string>> descriptions(const HubListing& listing) const;
  [[nodiscard]] Status bring(const std::vector<std::string>& files);
  [[nodiscard]] Status check_room(uint64_t num_missing) const;
  [[nodiscard]] Status bring_together(const std::vector<std::string>& files, DownloadProgress& progress);

  const HubConfig& config_;
  const HubWish& wish_;
  const HubCache& cache_;
  HubClient client_;
  std::string commit_;
};

Result<std::string> ModelDownload::run() {
  GALE_ASSIGN(const HubListing listing, client_.list());
  commit_ = listing.commit;
  GALE_ASSIGN(const std::vector<std::string> first, descriptions(listing));
  GALE_TRY(bring(first));
  if (wish_.has_weights) {
    std::vector<std::string> weights = {kSingle};
    if (cache_.has(commit_, kIndex)) {
      GALE_ASSIGN(weights, files_of_index(cache_.snapshot(commit_) + "/" + kIndex));
    }
    GALE_TRY(bring(weights));
  }
  // Last, so that it never leads to what is not whole. The model can be served where it cannot be written.
  if (is_commit(config_.revision)) return cache_.snapshot(commit_);
  if (const Status set = cache_.set_commit(config_.revision, commit_); !set) log_warning("{}", set.error().message);
  return cache_.snapshot(commit_);
}

Result<std::vector<std::string>> ModelDownload::descriptions(const HubListing& listing) const {
  const auto has = [&](std::string_view file) { return std::ranges::find(listing.files, file) != listing.files.end(); };
  std::vector<std::string> out;
  for (size_t i = 0; i < std::size(kDescriptions); ++i) {
    if (has(kDescriptions[i]))
      out.emplace_back(kDescriptions[i]);
    else if (i < kNumRequired)
      return fail(ErrorCode::kNotFound, "{} holds no {}: gale cannot serve it", wish_.name, kDescriptions[i]);
  }
  if (!wish_.has_weights) return out;
  if (has(kIndex))
    out.emplace_back(kIndex);
  else if (!has(kSingle))
    return fail(ErrorCode::kNotFound, "{} holds neither {} nor {}: gale cannot serve it", wish_.name, kIndex, kSingle);
  return out;
}

Status ModelDownload::check_room(uint64_t num_missing) const {
  struct statvfs disk{};
  if (::statvfs(cache_.folder().c_str(), &disk) != 0) return {};
  const uint64_t num_free = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (num_missing <= num_free) return {};
  return fail(ErrorCode::kForbidden,
              "{} needs {} bytes more in {}, and {} are free: make room, or name another place with --download-dir",
              wish_.name, num_missing, cache_.folder(), num_free);
}

Status ModelDownload::bring(const std::vector<std::string>& files) {
  std::vector<std::string> missing;
  for (const std::string& file : files) {
    if (!cache_.has(commit_, file)) missing.push_back(file);
  }
  if (missing.empty()) return {};
  GALE_TRY(cache_.make_folders(commit_));
  uint64_t num_all = 0, num_there = 0;
  for (const std::string& file : missing) {
    if (wish_.is_cancelled()) return fail(ErrorCode::kCancelled, "the download was ended");
    GALE_ASSIGN(const HubFile known, client_.look_up(commit_, file));
    num_all += known.size;
    num_there += std::min(known.size, num_bytes_there(cache_, known));
  }
  GALE_TRY(check_room(num_all - num_there));
  log_info("Downloading {} files of {}: {:.3f} GB, {:.3f} of them are there", missing.size(), wish_.name,
           static_cast<double>(num_all) / 1e9, static_cast<double>(num_there) / 1e9);
  DownloadProgress progress(wish_.name, num_all);
  progress.add(num_there);
  return bring_together(missing, progress);
}

// Several at once; the first that fails ends all.
Status ModelDownload::bring_together(const std::vector<std::string>& files, DownloadProgress& progress) {
  std::atomic<size_t> next{0};
  std::atomic<bool> has_failed{false};
  std::mutex mutex;
  Status first_failure;   // guarded by it
  const auto worker = [&] {
    HubClient client(config_, wish_.name);
    const auto is_cancelled = [&] { return has_failed.load() || wish_.is_cancelled(); };
    for (size_t i = next++; i < files.size() && !is_cancelled(); i = next++) {
      const Status done =
          download_blob(client, cache_, {.commit = commit_, .file = files[i], .is_cancelled = is_cancelled}, progress);
      if (done) continue;
      const std::lock_guard lock(mutex);
      if (!has_failed.exchange(true)) first_failure = done;
    }
  };
  {
    std::vector<std::jthread> workers;
    for (size_t i = 0; i < std::min(kNumConnections, files.size()); ++i) workers.emplace_back(worker);
  }
  GALE_TRY(first_failure);
  if (wish_.is_cancelled()) return fail(ErrorCode::kCancelled, "the download was ended; what came is kept");
  return {};
}

// As huggingface_hub keeps it. A line end would end the header that it goes into.
Result<std::string> token_of(const HubConfig& config) {
  constexpr size_t kLongest = 4096;
  const std::string token = without_trailing_space(
      config.token.empty() ? read_file(config.home + "/token", kLongest).value_or("") : config.token);
  if (std::ranges::all_of(token, [](unsigned char c) { return c > ' ' && c < 0x7f; })) return token;
  return fail_param(ErrorCode::kInvalidArgument, "hf-token", "--hf-token: a token has no blanks and line ends");
}

}   // namespace

bool is_hub_name(std::string_view text) {
  constexpr size_t kLongest = 96;
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || text.size() > 2 * kLongest) return false;
  for (const std::string_view part : {text.substr(0, slash), text.substr(slash + 1)}) {
    const bool begins_well = !part.empty() && part.front() != '.' && part.front() != '-';
    if (!is_word(part, "-_.") || !begins_well || part.find("..") != std::string_view::npos ||
        part.find("--") != std::string_view::npos)
      return false;
  }
  return true;
}

Result<std::string> find_hub_model(const HubConfig& given, const HubWish& wish) {
  HubConfig config = given;
  while (config.endpoint.ends_with('/')) config.endpoint.pop_back();
  if (config.cache_dir.empty()) config.cache_dir = config.home + "/hub";
  if (!is_revision(config.revision)) {
    return fail_param(ErrorCode::kInvalidArgument, "revision", "--revision: '{}' names no branch, tag or commit",
                      config.revision);
  }
  const HubCache cache(config.cache_dir, wish.name);
  Result<std::string> cached = find_in_cache(cache, config, wish);
  if (cached && is_commit(config.revision)) return cached;   // a commit does not change
  if (config.is_offline) {
    if (!cached) cached.error().message += ", and nothing is downloaded offline";
    return cached;
  }
  GALE_ASSIGN(config.token, token_of(config));
  Result<std::string> found = ModelDownload(config, wish, cache).run();
  if (found) return found;
  const bool is_unreachable =
      found.error().code == ErrorCode::kUnavailable || found.error().code == ErrorCode::kDeadline;
  if (!cached || !is_unreachable) return found;
  log_warning("{}: {} is served as it is in the cache", found.error().message, wish.name);
  return cached;
}

}   // namespace gale
