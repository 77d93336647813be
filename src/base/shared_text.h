#pragma once

#include <memory>
#include <string>
#include <utility>

namespace gale {

// A text that never changes and that copies share: for large ones that many hold.
class SharedText {
 public:
  SharedText() = default;
  SharedText(std::string text) : text_(text.empty() ? nullptr : std::make_shared<const std::string>(std::move(text))) {}
  SharedText(const char* text) : SharedText(std::string(text)) {}

  [[nodiscard]] const std::string& str() const {
    static const std::string kEmpty;
    return text_ == nullptr ? kEmpty : *text_;
  }
  [[nodiscard]] bool empty() const { return text_ == nullptr; }
  bool operator==(const SharedText& other) const { return text_ == other.text_ || str() == other.str(); }

 private:
  std::shared_ptr<const std::string> text_;   // shared: that is what it is for
};

}  // namespace gale
