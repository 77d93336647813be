#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace gale {

// An index or identity that cannot be mixed up with another: using BlockId = StrongId<struct BlockIdTag, int32_t>.
template <class Tag, class Rep>
struct StrongId {
  Rep value{};
  constexpr auto operator<=>(const StrongId&) const = default;
};

}  // namespace gale

template <class Tag, class Rep>
struct std::hash<gale::StrongId<Tag, Rep>> {
  size_t operator()(const gale::StrongId<Tag, Rep>& id) const noexcept { return std::hash<Rep>{}(id.value); }
};
