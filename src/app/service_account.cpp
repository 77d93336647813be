#include "app/service_account.h"

#include <pwd.h>
#include <sys/stat.h>

#include <filesystem>
#include <optional>

namespace gale {
namespace {

namespace fs = std::filesystem;

// What others cannot pass, and whose it is.
struct Barrier {
  std::string path;
  uid_t owner = 0;
};

std::optional<Barrier> barrier_on(const fs::path& given) {
  std::error_code trouble;
  const fs::path path = fs::canonical(given, trouble);   // the contents of a model from the Hub lie behind links
  if (trouble && trouble != std::errc::permission_denied) return std::nullopt;
  fs::path part;
  for (const fs::path& name : trouble ? given : path) {
    part /= name;
    struct stat found {};
    if (::stat(part.c_str(), &found) != 0) return std::nullopt;
    const mode_t needed = S_ISDIR(found.st_mode) ? S_IXOTH : S_IROTH;
    if ((found.st_mode & needed) == 0) return Barrier{part, found.st_uid};
  }
  return std::nullopt;
}

std::optional<Barrier> barrier_on_model(const std::string& model) {
  if (auto barrier = barrier_on(model)) return barrier;
  std::error_code trouble;
  for (const fs::directory_entry& file : fs::directory_iterator(model, trouble))
    if (auto barrier = barrier_on(file.path())) return barrier;
  return std::nullopt;
}

std::string name_of(uid_t user) {
  const passwd* const found = ::getpwuid(user);
  return found != nullptr ? found->pw_name : std::to_string(user);
}

}  // namespace

Result<std::string> service_account(const std::string& program, const std::string& model) {
  const std::optional<Barrier> before_program = barrier_on(program), before_model = barrier_on_model(model);
  if (!before_program && !before_model) return std::string();
  if (before_program && before_model && before_program->owner != before_model->owner) {
    return fail(ErrorCode::kForbidden,
                "{} is for user {} alone, {} for user {} alone: move program or model to where others may read",
                before_program->path, name_of(before_program->owner), before_model->path, name_of(before_model->owner));
  }
  return name_of(before_program ? before_program->owner : before_model->owner);
}

}  // namespace gale
