#include "ui/assets.h"

namespace gale {

const Asset* find_asset(std::string_view path) { return find_asset(all_assets(), path); }

}  // namespace gale
