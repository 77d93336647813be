#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <csignal>
#include <deque>
#include <new>
#include <optional>
#include <utility>

#include "base/log.h"
#include "channel/codec.h"
#include "channel/framed_socket.h"
#include "channel/socket_channel.h"
#include "grammar/grammar.h"
#include "serving/child_process.h"
#include "serving/grammar_compiler.h"

namespace gale {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxFrameBytes = kMaxMessageBytes;
constexpr rlim_t kMaxCpuSeconds = 2;                      // for one grammar
constexpr rlim_t kMaxMemoryBytes = rlim_t{1} << 30;       // of addresses, the vocabulary's tables included
constexpr milliseconds kPatience{15'000};                 // for an answer; more than the limits
                                                          // above leave, on a busy machine
constexpr milliseconds kForEver{1 << 30};
constexpr char kGrammar = 'G', kRefusal = 'R';            // how an answer begins

// Sanitizers reserve terabytes of addresses.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLimitsMemory = false;
#else
constexpr bool kLimitsMemory = true;
#endif

// Frames over a socket, one by one.
class Conversation {
 public:
  explicit Conversation(UniqueFd fd) : socket_(std::move(fd), kMaxFrameBytes, kPatience) {}
  [[nodiscard]] Status send(std::string_view frame) { return socket_.send(frame); }
  [[nodiscard]] Result<std::string> receive(milliseconds patience) {
    const auto give_up = std::chrono::steady_clock::now() + patience;
    while (arrived_.empty()) {
      if (std::chrono::steady_clock::now() >= give_up)
        return fail(ErrorCode::kDeadline, "no answer within {} s", patience.count() / 1000);
      GALE_ASSIGN(std::vector<std::string> frames, socket_.receive(milliseconds(200)));
      for (std::string& frame : frames) arrived_.push_back(std::move(frame));
    }
    std::string frame = std::move(arrived_.front());
    arrived_.pop_front();
    return frame;
  }

 private:
  FramedSocket socket_;
  std::deque<std::string> arrived_;
};

class GrammarProcess final : public GrammarCompiler {
 public:
  GrammarProcess(std::vector<std::string> command, std::shared_ptr<const Vocabulary> vocabulary)
      : command_(std::move(command)), vocabulary_(std::move(vocabulary)) {}
  ~GrammarProcess() override { reap(); }

  // Without memory in the middle of it the process ends: its answer would be taken for that of the next grammar.
  Result<std::string> compile(const std::string& structural_tag) override {
    try {
      return try_compile(structural_tag);
    } catch (const std::bad_alloc&) {
      reap();
      throw;
    }
  }

 private:
  // A process may end for a reason that is not the grammar's: the next one is asked again.
  Result<std::string> try_compile(const std::string& structural_tag) {
    bool asks_too_much = false;
    for (int i = 0; i < 2 && !asks_too_much; ++i) {
      if (!socket_) GALE_TRY(start());
      const Result<std::string> answer = converse(structural_tag);
      if (answer) {
        const std::string rest = answer->empty() ? "" : answer->substr(1);
        if (answer->starts_with(kGrammar)) return rest;
        return fail(ErrorCode::kInvalidArgument, "{}", rest);
      }
      const int status = reap();
      log_warning("the grammar compiler broke off ({}), {}", answer.error().message, describe_ending(status));
      const bool is_over_time = WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU;
      asks_too_much = is_over_time || answer.error().code == ErrorCode::kDeadline;
    }
    return fail(ErrorCode::kInvalidArgument,
                "the grammar takes too long or too much memory to prepare; make it smaller");
  }

  Status start() {
    GALE_ASSIGN(SocketPair sockets, make_socket_pair());
    socket_.emplace(std::move(sockets.front));   // first: behind the fork nothing may be lacking
    const Result<pid_t> child = start_child(command_, sockets.engine.get());
    if (!child) {
      socket_.reset();
      return tl::unexpected(child.error());
    }
    pid_ = *child;
    if (Status told = socket_->send(encode(ToEngine(*vocabulary_))); !told) {
      return fail(ErrorCode::kUnavailable, "the grammar compiler did not start: {}", describe_ending(reap()));
    }
    return {};
  }
  Result<std::string> converse(const std::string& structural_tag) {
    GALE_TRY(socket_->send(structural_tag));
    return socket_->receive(kPatience);
  }
  // Ends it; returns how it ended, as waitpid does.
  int reap() {
    socket_.reset();
    int status = 0;
    const pid_t pid = std::exchange(pid_, 0);
    if (pid == 0) return status;
    return ::waitpid(pid, &status, WNOHANG) == pid ? status : kill_child(pid);
  }

  const std::vector<std::string> command_;
  const std::shared_ptr<const Vocabulary> vocabulary_;   // shared by all compilers of a model
  pid_t pid_ = 0;                                        // 0: there is no process
  std::optional<Conversation> socket_;                   // with it
};

void set_limit(int resource, rlim_t soft) {
  rlimit limit{};
  ::getrlimit(static_cast<__rlimit_resource>(resource), &limit);
  limit.rlim_cur = std::min(soft, limit.rlim_max);
  ::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

// The signal of this limit ends the process; the front sees it go.
void allow_cpu_time() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  set_limit(RLIMIT_CPU, static_cast<rlim_t>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1 + kMaxCpuSeconds);
}

}  // namespace

GrammarCompilerFactory make_grammar_processes(std::vector<std::string> command) {
  return [command = std::move(command)](std::shared_ptr<const Vocabulary> vocabulary) {
    return std::make_unique<GrammarProcess>(command, std::move(vocabulary));
  };
}

int serve_grammar_compiler(int fd) {
  Conversation socket{UniqueFd(fd)};
  set_limit(RLIMIT_CORE, 0);
  const auto first = socket.receive(kForEver);
  if (!first) return 0;
  const auto message = decode_to_engine(*first);
  const Vocabulary* vocabulary = message ? std::get_if<Vocabulary>(&*message) : nullptr;
  if (vocabulary == nullptr) return 1;
  const auto tokens = GrammarTokens::create(*vocabulary);
  if (kLimitsMemory) set_limit(RLIMIT_AS, kMaxMemoryBytes);
  while (true) {
    const auto tag = socket.receive(kForEver);
    if (!tag) return 0;
    allow_cpu_time();
    const Result<std::string> grammar = tokens ? compile_grammar(*tag, **tokens) : tl::unexpected(tokens.error());
    const std::string answer = grammar ? kGrammar + *grammar : kRefusal + grammar.error().message;
    if (!socket.send(answer)) return 0;
  }
}

}  // namespace gale
