#include "media/sandbox.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace gale {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kExecFailed = 127;
constexpr size_t kMaxComplaint = 4096;
constexpr int kMaxDescriptors = 64;

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the sandbox knows x86-64 and ARM64"
#endif

// System calls that a converter of documents has no business with; each fails with EPERM. exec comes after the filter
// and has to stay; what it starts is under the filter, too.
constexpr std::array kRefused = {
    SYS_socket,
    SYS_socketpair,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_sendto,
    SYS_sendmsg,
    SYS_sendmmsg,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kill,
    SYS_tkill,
    SYS_tgkill,
    SYS_clone3,
    SYS_clone,
    SYS_unshare,
    SYS_setns,
    SYS_unlinkat,
    SYS_renameat2,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_linkat,
    SYS_symlinkat,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_truncate,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_io_uring_setup,
    SYS_userfaultfd,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_init_module,
    SYS_finit_module,
    SYS_kexec_load,
    SYS_setuid,
    SYS_setgid,
    SYS_openat2,
    SYS_memfd_create,
    SYS_shmget,
    SYS_msgget,
    SYS_semget,
#if defined(__x86_64__)
    SYS_fork,
    SYS_vfork,
    SYS_creat,
    SYS_unlink,
    SYS_rename,
    SYS_renameat,
    SYS_mkdir,
    SYS_rmdir,
    SYS_link,
    SYS_symlink,
    SYS_mknod,
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
#endif
};

constexpr uint32_t kRefuse = SECCOMP_RET_ERRNO | EPERM;
constexpr sock_filter load(uint32_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset); }
constexpr sock_filter answer(uint32_t what) { return BPF_STMT(BPF_RET | BPF_K, what); }

// The number of a system call, then its flags where a file is opened: reading only.
std::vector<sock_filter> make_filter() {
  constexpr uint32_t kNumber = offsetof(seccomp_data, nr);
  constexpr uint32_t kSecondArgument = offsetof(seccomp_data, args) + 8,
                     kThirdArgument = offsetof(seccomp_data, args) + 16;
  std::vector<sock_filter> out = {load(offsetof(seccomp_data, arch)),
                                  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
                                  answer(SECCOMP_RET_KILL_PROCESS), load(kNumber)};
  for (const long number : kRefused) {
    out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1));
    out.push_back(answer(kRefuse));
  }
  const auto read_only = [&out](long number, uint32_t flags_at) {
    out.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 4));
    out.push_back(load(flags_at));
    out.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0, 1));
    out.push_back(answer(kRefuse));
    out.push_back(answer(SECCOMP_RET_ALLOW));
  };
  read_only(SYS_openat, kThirdArgument);
#if defined(__x86_64__)
  read_only(SYS_open, kSecondArgument);
#else
  (void)kSecondArgument;
#endif
  out.push_back(answer(SECCOMP_RET_ALLOW));
  return out;
}

void limit(int what, rlim_t value) {
  const rlimit both{value, value};
  if (::setrlimit(static_cast<__rlimit_resource>(what), &both) != 0) ::_exit(kExecFailed);
}

struct Ends {
  int read = -1, write = -1;
};

// In the child, between fork and exec: only what is safe after a fork of a process with threads.
[[noreturn]] void become_program(char* const* arguments, const sock_fprog& filter, int input, int output, int complaint,
                                 const SandboxLimits& limits) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const bool has_streams = ::dup2(input, 0) == 0 && ::dup2(output, 1) == 1 && ::dup2(complaint, 2) == 2;
  if (!has_streams || ::close_range(3, ~0U, 0) != 0) ::_exit(kExecFailed);
  limit(RLIMIT_AS, limits.memory_bytes);
  // A second between the signal that names the reason and the one that cannot be ignored: at once, the second would
  // win.
  const rlimit computing{static_cast<rlim_t>(limits.cpu_seconds), static_cast<rlim_t>(limits.cpu_seconds) + 1};
  ::setrlimit(RLIMIT_CPU, &computing);
  limit(RLIMIT_NOFILE, kMaxDescriptors);
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_CORE, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
    ::_exit(kExecFailed);
  char* const environment[] = {nullptr};
  ::execve(arguments[0], arguments, environment);
  ::_exit(kExecFailed);
}

class File {                                     // a descriptor that closes itself
 public:
  explicit File(int fd = -1) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&&) = delete;
  ~File() { close(); }
  [[nodiscard]] int get() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

Result<File> file_of(std::string_view bytes) {
  File file(::memfd_create("document", MFD_CLOEXEC));
  while (file.get() >= 0 && !bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written <= 0) return fail(ErrorCode::kInternal, "cannot hand the document over: {}", std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (file.get() < 0 || ::lseek(file.get(), 0, SEEK_SET) != 0)
    return fail(ErrorCode::kInternal, "no memory for the document");
  return file;
}

// Reads both streams until they end, the time is over or there is too much.
Status read_streams(int output, int complaint, const SandboxLimits& limits, SandboxResult& result) {
  const Clock::time_point deadline = Clock::now() + limits.wall_time;
  std::array<pollfd, 2> streams = {pollfd{output, POLLIN, 0}, pollfd{complaint, POLLIN, 0}};
  std::array<char, 64 << 10> piece;
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now()).count();
    if (left <= 0 || ::poll(streams.data(), streams.size(), static_cast<int>(left)) == 0) {
      return fail(ErrorCode::kDeadline, "not done after {} ms", limits.wall_time.count());
    }
    for (size_t i = 0; i < streams.size(); ++i) {
      if (streams[i].fd < 0 || streams[i].revents == 0) continue;
      const ssize_t got = ::read(streams[i].fd, piece.data(), piece.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        streams[i].fd = -1;
      } else if (i == 0) {
        result.output.append(piece.data(), static_cast<size_t>(got));
      } else if (result.complaint.size() < kMaxComplaint) {
        result.complaint.append(piece.data(), static_cast<size_t>(got));
      }
    }
    if (result.output.size() > limits.output_bytes)
      return fail(ErrorCode::kTooLarge, "more than {} bytes of text", limits.output_bytes);
  }
  return {};
}

}  // namespace

Result<SandboxResult> run_in_sandbox(const std::vector<std::string>& command, std::string_view input,
                                     const SandboxLimits& limits) {
  CHECK(!command.empty() && command[0].starts_with('/'), "a program is named by its path");
  if (::access(command[0].c_str(), X_OK) != 0) return fail(ErrorCode::kNotFound, "{} is not installed", command[0]);
  GALE_ASSIGN(File document, file_of(input));
  int ends[2][2];
  if (::pipe2(ends[0], O_CLOEXEC) != 0) return fail(ErrorCode::kInternal, "no pipe: {}", std::strerror(errno));
  File output(ends[0][0]), output_end(ends[0][1]);
  if (::pipe2(ends[1], O_CLOEXEC) != 0) return fail(ErrorCode::kInternal, "no pipe: {}", std::strerror(errno));
  File complaint(ends[1][0]), complaint_end(ends[1][1]);

  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::vector<sock_filter> rules = make_filter();
  const sock_fprog filter{static_cast<unsigned short>(rules.size()), rules.data()};
  const pid_t pid = ::fork();
  if (pid < 0) return fail(ErrorCode::kInternal, "cannot start {}: {}", command[0], std::strerror(errno));
  if (pid == 0) become_program(arguments.data(), filter, document.get(), output_end.get(), complaint_end.get(), limits);
  output_end.close();
  complaint_end.close();

  SandboxResult result;
  const Status read = read_streams(output.get(), complaint.get(), limits, result);
  if (!read) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (!read) return tl::unexpected(read.error());
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
    return fail(ErrorCode::kDeadline, "more than {} s of computing", limits.cpu_seconds);
  if (WIFSIGNALED(status)) return fail(ErrorCode::kCorrupt, "ended by signal {}", WTERMSIG(status));
  result.exit_code = WEXITSTATUS(status);
  return result;
}

}  // namespace gale
