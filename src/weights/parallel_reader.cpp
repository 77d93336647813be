#include "weights/parallel_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace gale {
namespace {

constexpr size_t kAlignment = 4096;  // of offsets, lengths and memory for O_DIRECT
constexpr size_t kSamples = 64;      // pages that are asked about for a whole file

size_t round_down(size_t value) { return value / kAlignment * kAlignment; }
size_t round_up(size_t value) { return round_down(value + kAlignment - 1); }

// Whether most of a mapped file is in the page cache.
bool is_cached(std::span<const std::byte> bytes) {
  size_t num_resident = 0, num_asked = 0;
  for (size_t i = 0; i < kSamples && !bytes.empty(); ++i) {
    const size_t offset = round_down(bytes.size() / kSamples * i);
    unsigned char state = 0;
    if (::mincore(const_cast<std::byte*>(bytes.data() + offset), 1, &state) != 0)
      return true;  // cannot be known: the common way
    num_resident += state & 1U, ++num_asked;
  }
  return 2 * num_resident >= num_asked;
}

// All of [offset, offset + size) or an error; `minimum`: what must come, the rest may lie behind the end of the file.
Result<size_t> read_fully(int descriptor, std::byte* to, size_t size, uint64_t offset, size_t minimum,
                          const std::string& path) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(descriptor, to + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return fail(ErrorCode::kCorrupt, "cannot read {} at byte {}: {}", path, offset + done, std::strerror(errno));
    if (got == 0) break;
    done += static_cast<size_t>(got);
    if (done >= minimum) break;
  }
  if (done < minimum)
    return fail(ErrorCode::kCorrupt, "{} ends at byte {}, its header promises more: it shrank while it was read", path,
                offset + done);
  return done;
}

}  // namespace

Result<std::unique_ptr<ParallelReader>> ParallelReader::start(Device& device, const Checkpoint* files,
                                                              const std::vector<std::vector<Transfer>>& groups,
                                                              const Options& options) {
  std::unique_ptr<ParallelReader> reader(new ParallelReader(device, options));
  if (files != nullptr) GALE_TRY(reader->open_files(*files));
  reader->cut(groups, files);
  const size_t slot_bytes = round_up(options.piece_bytes) + 2 * kAlignment;
  for (int i = 0; i < options.num_threads; ++i) {
    GALE_ASSIGN(std::unique_ptr<Buffer> buffer, device.allocate(MemoryKind::kHostPinned, 2 * slot_bytes + kAlignment));
    reader->buffers_.push_back(std::move(buffer));
  }
  for (const std::unique_ptr<Buffer>& buffer : reader->buffers_) {
    reader->threads_.emplace_back([r = reader.get(), memory = buffer->data()] { r->run(memory); });
  }
  return reader;
}

ParallelReader::~ParallelReader() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  for (const auto& [path, file] : files_) {
    if (file.buffered >= 0) ::close(file.buffered);
    if (file.direct >= 0) ::close(file.direct);
  }
}

Status ParallelReader::open_files(const Checkpoint& files) {
  for (const MappedFile* mapped : files.mapped_files()) {
    File& file = files_[mapped->path()];
    file.buffered = ::open(mapped->path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file.buffered < 0) return fail(ErrorCode::kCorrupt, "cannot open {}: {}", mapped->path(), std::strerror(errno));
    if (options_.may_read_direct && !is_cached(mapped->bytes()))
      file.direct = ::open(mapped->path().c_str(),
                           O_RDONLY | O_CLOEXEC | O_DIRECT);  // refused by some file systems: buffered, then
  }
  return {};
}

void ParallelReader::cut(const std::vector<std::vector<Transfer>>& groups, const Checkpoint* files) {
  for (size_t group = 0; group < groups.size(); ++group) {
    num_open_.push_back(0);
    for (const Transfer& transfer : groups[group]) {
      const MappedFile* mapped = files == nullptr ? nullptr : files->file_of(transfer.from);
      const auto* from = static_cast<const std::byte*>(transfer.from);
      auto* to = static_cast<std::byte*>(transfer.to);
      for (size_t begin = 0; begin < transfer.num_bytes; begin += options_.piece_bytes) {
        Piece piece{from + begin, to + begin, std::min(options_.piece_bytes, transfer.num_bytes - begin),
                    group,        nullptr,    0,
                    nullptr};
        if (mapped != nullptr) {
          const auto found = files_.find(mapped->path());
          piece.file = &found->second, piece.path = &found->first,
          piece.offset = static_cast<uint64_t>(piece.from - mapped->bytes().data());
        }
        pieces_.push_back(piece);
        ++num_open_.back();
      }
    }
  }
}

// Where the piece's bytes lie in host memory that the device may copy from.
Result<const std::byte*> ParallelReader::fetch(const Piece& piece, std::byte* memory) {
  if (piece.file == nullptr) {
    std::memcpy(memory, piece.from, piece.num_bytes);
    return memory;
  }
  if (piece.file->direct >= 0) {
    const size_t lead = piece.offset % kAlignment, wanted = lead + piece.num_bytes;
    const Result<size_t> got =
        read_fully(piece.file->direct, memory, round_up(wanted), piece.offset - lead, wanted, *piece.path);
    if (got) {
      const std::lock_guard lock(mutex_);
      totals_.direct_bytes += piece.num_bytes;
      return memory + lead;
    }
    // Some file systems open for direct reading and refuse it then: the other way tells whether the file is at fault.
  }
  GALE_TRY(read_fully(piece.file->buffered, memory, piece.num_bytes, piece.offset, piece.num_bytes, *piece.path));
  return memory;
}

std::optional<ParallelReader::Piece> ParallelReader::next_piece(std::unique_lock<std::mutex>& lock, bool may_wait) {
  const auto is_open = [this] {
    return next_ < pieces_.size() &&
           pieces_[next_].group < num_released_ + static_cast<size_t>(options_.num_groups_ahead);
  };
  const auto is_over = [this] { return is_stopping_ || error_ || next_ >= pieces_.size(); };
  if (may_wait) wake_.wait(lock, [&] { return is_over() || is_open(); });
  if (is_over() || !is_open()) return std::nullopt;
  totals_.bytes += pieces_[next_].num_bytes;
  return pieces_[next_++];
}

void ParallelReader::finish(Slot& slot) {
  if (!slot.event) return;
  slot.event->wait();
  slot.event.reset();
  {
    const std::lock_guard lock(mutex_);
    --num_open_[slot.group];
  }
  wake_.notify_all();
}

void ParallelReader::fail_all(Error error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  wake_.notify_all();
}

void ParallelReader::run(std::byte* memory) {
  const std::unique_ptr<Stream> stream = device_.make_stream();
  auto* aligned = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<size_t>(memory)));
  const size_t slot_bytes = round_up(options_.piece_bytes) + 2 * kAlignment;
  Slot slots[2] = {{.memory = aligned}, {.memory = aligned + slot_bytes}};
  for (size_t turn = 0;; ++turn) {
    std::unique_lock lock(mutex_);
    std::optional<Piece> piece = next_piece(lock, false);
    if (!piece) {  // before waiting for others, say what is done: they may wait for it
      lock.unlock();
      for (Slot& slot : slots) finish(slot);
      lock.lock();
      piece = next_piece(lock, true);
    }
    lock.unlock();
    if (!piece) break;
    Slot& slot = slots[turn % 2];
    finish(slot);
    const Result<const std::byte*> bytes = fetch(*piece, slot.memory);
    if (!bytes) {
      fail_all(bytes.error());
      break;
    }
    device_.copy(*stream, piece->to, *bytes, piece->num_bytes);
    slot.event = stream->record();
    slot.group = piece->group;
  }
  for (Slot& slot : slots) finish(slot);
}

Status ParallelReader::wait_for(size_t group) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return error_ || num_open_[group] == 0; });
  if (error_) return tl::unexpected(*error_);
  return {};
}

void ParallelReader::release(size_t group) {
  {
    const std::lock_guard lock(mutex_);
    num_released_ = group + 1;
  }
  wake_.notify_all();
}

ParallelReader::Totals ParallelReader::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

}  // namespace gale
