#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace gale {

// The text of a document, page by page; a text file has one page. UTF-8 with \n.
struct DocumentText {
  std::vector<std::string> pages;
};

enum class DocumentTrouble { kNotText, kEncrypted, kDamaged, kTooSlow, kTooLong, kNoText, kNoReader };
[[nodiscard]] std::string_view trouble_name(DocumentTrouble trouble);   // "encrypted"
[[nodiscard]] std::string_view trouble_text(DocumentTrouble trouble);   // for people

// Text in UTF-8, UTF-16 with a mark, GB18030 (with GBK) or Windows-1252, or a PDF, told apart by their bytes, never by
// a name. A PDF is read by pdftotext in a sandbox (media/sandbox.h).
[[nodiscard]] tl::expected<DocumentText, DocumentTrouble> read_document(std::string_view bytes);

}  // namespace gale
