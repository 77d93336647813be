"""Trains the tokenizer on the generated dialogues and writes it in the layout of GLM-4.7-Flash.

    python models/train/tokenizer_train.py --out models/nano-flash
"""

import argparse
import json
import pathlib
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from checkpoint import write_json

BASE_VOCABULARY = 8128
CONTROL_TOKENS = [
    "<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
    "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>",
    "<|begin_of_audio|>", "<|end_of_audio|>", "<|begin_of_transcription|>", "<|end_of_transcription|>"]
TEXT_TOKENS = [
    "<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
    "<tool_response>", "</tool_response>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "/nothink",
    "<|begin_of_box|>", "<|end_of_box|>", "<|image|>", "<|video|>"]
SPLIT = "|".join([
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def without_digits(texts):
    """Digits stay single tokens: a tiny model adds and copies numbers digit by digit."""
    for text in texts:
        yield re.sub(r"\d+", " ", text)


def train(texts) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=True, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True)
    trainer = trainers.BpeTrainer(
        vocab_size=BASE_VOCABULARY, min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(without_digits(texts), trainer)
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    tokenizer.add_tokens([AddedToken(token, special=True, **flags) for token in CONTROL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, **flags) for token in TEXT_TOKENS])
    return tokenizer


def write(tokenizer: Tokenizer, folder: pathlib.Path):
    tokenizer.save(str(folder / "tokenizer.json"))
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    write_json(folder / "tokenizer_config.json", {
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in stored["added_tokens"]},
        "clean_up_tokenization_spaces": False, "do_lower_case": False, "eos_token": "<|endoftext|>",
        "extra_special_tokens": {}, "model_max_length": 4096, "pad_token": "<|endoftext|>", "padding_side": "left",
        "remove_space": False, "tokenizer_class": "PreTrainedTokenizerFast"})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--dialogues", type=int, default=40000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    from data_mix import corpus  # only this command needs the data
    tokenizer = train(corpus(options.seed, options.dialogues))
    write(tokenizer, options.out)
    print(f"{tokenizer.get_vocab_size(with_added_tokens=False)} base tokens, {tokenizer.get_vocab_size()} in all")


if __name__ == "__main__":
    main()
