"""Writes the golden data of src/tokenizer/tokenizer_test.cpp: small tokenizers of three kinds and what the `tokenizers`
library makes of a few hundred strings with them. Run again after changing this file or strings.py.
"""

import json
from pathlib import Path

from strings import WORDS, strings
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
            r"""\s*[\r\n]+|\s+(?!\S)|\s+""")
KINDS = {   # split patterns, normal form, ignore_merges
    "glm": ([CONTRACTIONS + r"\p{N}{1,3}" + REST], None, True),
    "qwen": ([CONTRACTIONS + r"\p{N}" + REST], normalizers.NFC(), False),
    "deepseek": ([r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK], None, False),
}
CONTROL = [AddedToken("<|endoftext|>", special=True, normalized=False),
           AddedToken("<|user|>", special=True, normalized=False),
           AddedToken("<think>", special=False, normalized=False),
           AddedToken("</think>", special=False, normalized=False),
           AddedToken("[MASK]", special=True, normalized=False, lstrip=True),
           AddedToken("<end> ", special=False, normalized=False, rstrip=True),
           AddedToken("café", special=False, normalized=True), AddedToken("<|user|>>", special=False, normalized=False)]
NUM_STRINGS = 150


def make_tokenizer(patterns, normal_form, ignore_merges):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normal_form:
        tokenizer.normalizer = normal_form
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    splits.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    corpus = [word for word in WORDS for _ in range(5)]
    corpus += strings(2000, 7, ["the server answers", "def main():\n    return 0\n"])
    tokenizer.train_from_iterator(sorted(corpus), trainer)
    tokenizer.add_tokens(CONTROL)
    return tokenizer


def main():
    with open(HERE / "golden.jsonl", "w", encoding="utf-8") as out:
        for kind, settings in KINDS.items():
            tokenizer = make_tokenizer(*settings)
            tokenizer.save(str(HERE / f"tokenizer_{kind}.json"), pretty=False)
            texts = ["", *strings(NUM_STRINGS, 11, [token.content for token in CONTROL] + ["cafe\u0301"])]
            for text, encoding in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False)):
                decoded = tokenizer.decode(encoding.ids, skip_special_tokens=True)
                out.write(json.dumps({"kind": kind, "text": text, "ids": encoding.ids, "decoded": decoded}) + "\n")


if __name__ == "__main__":
    main()
