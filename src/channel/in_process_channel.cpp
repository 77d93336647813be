#include <memory>
#include <thread>

#include "base/bounded_queue.h"
#include "channel/channel.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kMaxMessages = 65536;
constexpr milliseconds kPatience{5000};   // as the socket's

template <class Message>
using Pipe = BoundedQueue<Message>;

// One end. The pipes are shared by both ends: either may be destroyed first.
template <class Base, class Out, class In>
class PipeEnd final : public Base {
 public:
  PipeEnd(std::shared_ptr<Pipe<Out>> out, std::shared_ptr<Pipe<In>> in) : out_(std::move(out)), in_(std::move(in)) {}
  ~PipeEnd() override {
    out_->close();
    in_->close();
  }

  Status send(const Out& message) override {
    Out copy = message;
    const auto give_up = steady_clock::now() + kPatience;
    while (!out_->try_push(copy)) {
      if (out_->is_closed()) return gone();
      if (steady_clock::now() >= give_up) {
        out_->close();
        return fail(ErrorCode::kUnavailable, "channel: the peer does not read");
      }
      std::this_thread::sleep_for(milliseconds(1));
    }
    return {};
  }

  Result<std::vector<In>> receive(milliseconds timeout) override {
    std::vector<In> messages;
    if (auto first = in_->pop_for(timeout)) messages.push_back(std::move(*first));
    const bool is_closed = in_->is_closed();   // asked before the rest is taken: nothing can come after it
    std::vector<In> rest = in_->drain();
    messages.insert(messages.end(), std::make_move_iterator(rest.begin()), std::make_move_iterator(rest.end()));
    if (messages.empty() && is_closed) return gone();
    return messages;
  }

 private:
  static tl::unexpected<Error> gone() { return fail(ErrorCode::kUnavailable, "channel: the peer has gone"); }

  const std::shared_ptr<Pipe<Out>> out_;
  const std::shared_ptr<Pipe<In>> in_;
};

}  // namespace

InProcessChannel make_in_process_channel() {
  auto down = std::make_shared<Pipe<ToEngine>>(kMaxMessages);
  auto up = std::make_shared<Pipe<ToFront>>(kMaxMessages);
  return {.front = std::make_unique<PipeEnd<FrontChannel, ToEngine, ToFront>>(down, up),
          .engine = std::make_unique<PipeEnd<EngineChannel, ToFront, ToEngine>>(up, down)};
}

}  // namespace gale
