// The files of a model's folder: weights, config.json, tokenizer.json.
#include <cstddef>
#include <memory>
#include <string>

#include "base/temp_folder_testing.h"
#include "base/utf8.h"
#include "fuzz_targets.h"
#include "memory_folder.h"
#include "models/model.h"
#include "request/generation_config.h"
#include "tokenizer/detokenizer.h"
#include "tokenizer/tokenizer.h"
#include "weights/safetensors.h"

namespace gale {
namespace {

std::string length_of(uint64_t value) {
  std::string out;
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>(value >> shift & 0xff);
  return out;
}

volatile unsigned char touched;

// The first and last byte of a tensor must lie in the mapped file.
void touch(const Tensor& tensor) {
  const size_t size = static_cast<size_t>(tensor.num_elements()) * size_of(tensor.dtype);
  if (size == 0) return;
  const auto* bytes = static_cast<const unsigned char*>(tensor.data);
  touched = bytes[0];
  touched = bytes[size - 1];
}

const Tokenizer& builtin_tokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = [] {
    auto loaded = Tokenizer::load(GALE_SOURCE_DIR "/models/nano-flash/tokenizer.json");
    fuzz_check(loaded.has_value(), "the built-in tokenizer loads");
    return std::move(*loaded);
  }();
  return *tokenizer;
}

std::string in_pieces(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Detokenizer detokenizer(tokenizer, false);
  std::string text;
  for (const TokenId id : ids) {
    const std::string piece = detokenizer.append(id);
    fuzz_check(is_valid_utf8(piece), "no piece ends inside a code point");
    text += piece;
  }
  return text + detokenizer.finish();
}

}  // namespace

// An input that begins with "{" is a header: its length goes before it, 64 bytes of data behind. Others are whole
// files.
void fuzz_safetensors(std::string_view input) {
  static const TempFolder folder(memory_folder());
  const bool is_header = input.starts_with('{');
  folder.write("m.safetensors", is_header ? length_of(input.size()) + std::string(input) + std::string(64, '\1')
                                          : std::string(input));
  const Result<SafetensorsFile> file = SafetensorsFile::open(folder.path(), "m.safetensors");
  if (!file) return fuzz_check_message(file.error().message);
  for (const StoredTensor& tensor : file->tensors()) touch(tensor.data);
}

void fuzz_model_config(std::string_view input) {
  static const TempFolder folder(memory_folder());
  static const std::string weights = folder.write("model.safetensors", length_of(8) + "{}      ");
  folder.write("config.json", input);
  const Result<ModelPlan> plan = plan_model(folder.path());
  if (!plan) fuzz_check_message(plan.error().message);
  const Result<GenerationDefaults> defaults = load_generation_defaults(folder.path());
  if (!defaults) fuzz_check_message(defaults.error().message);
}

void fuzz_tokenizer_file(std::string_view input) {
  static const TempFolder folder(memory_folder());
  const auto tokenizer = Tokenizer::load(folder.write("tokenizer.json", input));
  if (!tokenizer) return fuzz_check_message(tokenizer.error().message);
  for (const TokenId id :
       (*tokenizer)->encode("The 12 caf\xc3\xa9s\n\t<|user|> \xe4\xbd\xa0\xe5\xa5\xbd", AddedTokens::kMatch)) {
    fuzz_check(id >= 0 && id < (*tokenizer)->vocab_size(), "an id is below the vocabulary's size");
  }
}

void fuzz_tokenizer_text(std::string_view input) {
  const Tokenizer& tokenizer = builtin_tokenizer();
  const std::string text = replace_invalid_utf8(input);
  for (const AddedTokens added : {AddedTokens::kPlain, AddedTokens::kMatch}) {
    const std::vector<TokenId> ids = tokenizer.encode(input, added);
    fuzz_check(tokenizer.decode(ids, false) == text, "decoding gives the text back");
    fuzz_check(in_pieces(tokenizer, ids) == text, "and so it does piece by piece");
    for (const TokenId id : ids) {
      fuzz_check(added == AddedTokens::kMatch || !tokenizer.is_added(id), "plain text makes no control token");
    }
  }
  // Ids that the input's own bytes name: nothing that a model may draw breaks the text.
  std::vector<TokenId> drawn;
  for (size_t i = 0; i + 1 < input.size(); i += 2) {
    drawn.push_back((static_cast<unsigned char>(input[i]) << 8 | static_cast<unsigned char>(input[i + 1])) - 16);
  }
  fuzz_check(in_pieces(tokenizer, drawn) == tokenizer.decode(drawn, false), "pieces of drawn ids are their text");
}

}  // namespace gale
