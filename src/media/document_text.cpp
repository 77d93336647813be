#include "media/document_text.h"

#include <iconv.h>

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "base/log.h"
#include "base/utf8.h"
#include "media/sandbox.h"

namespace gale {
namespace {

constexpr const char* kPdfToText = "/usr/bin/pdftotext";
constexpr size_t kPdfMarkWithin = 1024;        // readers look for %PDF- in so many bytes
constexpr size_t kMaxTextBytes = size_t{8} << 20;
constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF";

// As UTF-8; nothing if the bytes are none of that encoding.
std::optional<std::string> convert(std::string_view bytes, const char* encoding) {
  const iconv_t converter = ::iconv_open("UTF-8", encoding);
  CHECK(converter != reinterpret_cast<iconv_t>(-1), "iconv does not know {}", encoding);
  std::string out(bytes.size() * 3 + 16, '\0');
  char* from = const_cast<char*>(bytes.data());
  char* to = out.data();
  size_t from_left = bytes.size(), to_left = out.size();
  const size_t result = ::iconv(converter, &from, &from_left, &to, &to_left);
  ::iconv_close(converter);
  if (result == static_cast<size_t>(-1) || from_left != 0) return std::nullopt;
  out.resize(out.size() - to_left);
  return out;
}

// Two bytes a character: bytes beyond ASCII come in pairs in Chinese text, alone in Western.
bool looks_chinese(std::string_view bytes) {
  size_t in_pairs = 0, alone = 0;
  for (size_t i = 0; i < bytes.size();) {
    size_t run = 0;
    while (i + run < bytes.size() && static_cast<unsigned char>(bytes[i + run]) >= 0x80) ++run;
    (run >= 2 ? in_pairs : alone) += run;
    i += run + 1;
  }
  return in_pairs > alone * 3;
}

// Text holds no NUL and hardly any control characters.
bool is_binary(std::string_view text) {
  const auto is_control = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == 0x7F || (byte < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\f' && c != '\x1b');
  };
  const auto num_controls = static_cast<size_t>(std::ranges::count_if(text, is_control));
  return text.find('\0') != std::string_view::npos || num_controls > text.size() / 200;
}

std::string with_plain_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') out += text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n') out += '\n';
  }
  return out;
}

std::optional<std::string> decode_text(std::string_view bytes) {
  if (bytes.starts_with(kUtf8Mark)) bytes.remove_prefix(kUtf8Mark.size());
  if (bytes.starts_with("\xFF\xFE")) return convert(bytes.substr(2), "UTF-16LE");
  if (bytes.starts_with("\xFE\xFF")) return convert(bytes.substr(2), "UTF-16BE");
  if (is_binary(bytes)) return std::nullopt;
  if (is_valid_utf8(bytes)) return std::string(bytes);
  if (looks_chinese(bytes)) {
    if (auto text = convert(bytes, "GB18030")) return text;
  }
  return convert(bytes, "WINDOWS-1252");
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n\f") == std::string_view::npos; }

tl::expected<DocumentText, DocumentTrouble> read_pdf(std::string_view bytes) {
  const Result<SandboxResult> run = run_in_sandbox(
      {kPdfToText, "-enc", "UTF-8", "-eol", "unix", "/proc/self/fd/0", "-"}, bytes, {.output_bytes = kMaxTextBytes});
  if (!run) {
    log_warning("reading a PDF: {}", run.error().message);
    switch (run.error().code) {
      case ErrorCode::kNotFound: return tl::unexpected(DocumentTrouble::kNoReader);
      case ErrorCode::kDeadline: return tl::unexpected(DocumentTrouble::kTooSlow);
      case ErrorCode::kTooLarge: return tl::unexpected(DocumentTrouble::kTooLong);
      default: return tl::unexpected(DocumentTrouble::kDamaged);
    }
  }
  if (run->complaint.find("Incorrect password") != std::string::npos)
    return tl::unexpected(DocumentTrouble::kEncrypted);
  if (run->exit_code == 3) return tl::unexpected(DocumentTrouble::kEncrypted);       // its author forbids copying
  if (run->exit_code != 0) return tl::unexpected(DocumentTrouble::kDamaged);
  DocumentText out;
  std::string_view rest = run->output;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\f'), rest.size());
    out.pages.push_back(replace_invalid_utf8(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (std::ranges::all_of(out.pages, is_blank)) return tl::unexpected(DocumentTrouble::kNoText);
  return out;
}

}  // namespace

std::string_view trouble_name(DocumentTrouble trouble) {
  switch (trouble) {
    case DocumentTrouble::kNotText: return "not_text";
    case DocumentTrouble::kEncrypted: return "encrypted";
    case DocumentTrouble::kDamaged: return "damaged";
    case DocumentTrouble::kTooSlow: return "timeout";
    case DocumentTrouble::kTooLong: return "too_long";
    case DocumentTrouble::kNoText: return "no_text";
    case DocumentTrouble::kNoReader: return "no_reader";
  }
  CHECK(false, "trouble {}", static_cast<int>(trouble));
}

std::string_view trouble_text(DocumentTrouble trouble) {
  switch (trouble) {
    case DocumentTrouble::kNotText: return "neither text nor PDF";
    case DocumentTrouble::kEncrypted: return "the PDF is encrypted";
    case DocumentTrouble::kDamaged: return "the PDF is damaged";
    case DocumentTrouble::kTooSlow: return "reading it took too long";
    case DocumentTrouble::kTooLong: return "more than 8 MB of text";
    case DocumentTrouble::kNoText: return "there is no text in it";
    case DocumentTrouble::kNoReader: return "PDFs cannot be read here: the package poppler-utils is not installed";
  }
  CHECK(false, "trouble {}", static_cast<int>(trouble));
}

tl::expected<DocumentText, DocumentTrouble> read_document(std::string_view bytes) {
  if (bytes.substr(0, kPdfMarkWithin).find("%PDF-") != std::string_view::npos) return read_pdf(bytes);
  std::optional<std::string> text = decode_text(bytes);
  if (!text) return tl::unexpected(DocumentTrouble::kNotText);
  if (is_blank(*text)) return tl::unexpected(DocumentTrouble::kNoText);
  if (text->size() > kMaxTextBytes) return tl::unexpected(DocumentTrouble::kTooLong);
  return DocumentText{{with_plain_newlines(*text)}};
}

}  // namespace gale
