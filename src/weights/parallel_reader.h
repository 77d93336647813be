#pragma once

#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "tensor/device.h"
#include "weights/checkpoint.h"

namespace gale {

// Bytes that go to the device: from a mapped file of the checkpoint, or from other host memory.
struct Transfer {
  const void* from;
  void* to;
  size_t num_bytes;
};

// Reads a checkpoint onto a device with many threads: each reads pieces of some MiB past the page cache (O_DIRECT), or
// through it where the file is in it already or its file system knows no other way, into pinned memory of its own, two
// pieces in turn, and copies them on a stream of its own. Transfers come in groups (a matrix and what is joined with
// it), which are read in order; threads run a given number of groups ahead of the caller, because groups share memory.
class ParallelReader {
 public:
  struct Options {
    int num_threads = 16;
    size_t piece_bytes = size_t{8} << 20;
    int num_groups_ahead = 2;
    bool may_read_direct = true;
  };
  // `files` null: everything is taken from memory.
  [[nodiscard]] static Result<std::unique_ptr<ParallelReader>> start(Device& device, const Checkpoint* files,
                                                                     const std::vector<std::vector<Transfer>>& groups,
                                                                     const Options& options);
  ~ParallelReader();
  ParallelReader(const ParallelReader&) = delete;
  ParallelReader& operator=(const ParallelReader&) = delete;

  // Until the group's bytes are on the device. Groups are asked for in order. kCorrupt: a file cannot be read or has
  // shrunk.
  [[nodiscard]] Status wait_for(size_t group);
  // The caller has read the group's memory: group + num_groups_ahead may be written there.
  void release(size_t group);

  // How much was read past the page cache, and in all.
  struct Totals {
    size_t direct_bytes = 0, bytes = 0;
  };
  [[nodiscard]] Totals totals() const;

 private:
  struct File {
    int buffered = -1, direct = -1;
  };
  struct Piece {
    const std::byte* from;
    std::byte* to;
    size_t num_bytes, group;
    const File* file;
    uint64_t offset;
    const std::string* path;
  };
  struct Slot {
    std::byte* memory = nullptr;
    std::unique_ptr<StreamEvent> event;
    size_t group = 0;
  };

  ParallelReader(Device& device, const Options& options) : device_(device), options_(options) {}
  Status open_files(const Checkpoint& files);
  void cut(const std::vector<std::vector<Transfer>>& groups, const Checkpoint* files);
  void run(std::byte* memory);
  [[nodiscard]] Result<const std::byte*> fetch(const Piece& piece, std::byte* memory);
  [[nodiscard]] std::optional<Piece> next_piece(std::unique_lock<std::mutex>& lock, bool may_wait);
  void finish(Slot& slot);
  void fail_all(Error error);

  Device& device_;
  const Options options_;
  std::map<std::string, File> files_;
  std::vector<Piece> pieces_;
  std::vector<std::unique_ptr<Buffer>> buffers_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  size_t next_ = 0;               // of pieces_
  size_t num_released_ = 0;       // groups
  std::vector<size_t> num_open_;  // pieces of each group that are not on the device
  std::optional<Error> error_;
  bool is_stopping_ = false;
  Totals totals_;
  std::vector<std::thread> threads_;
};

}  // namespace gale
