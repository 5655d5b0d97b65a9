"""
Prints a SentencePiece model trained with the settings of Llama, as JSON: `tokens`, `scores` and `types` as a GGUF file
has them, and the `ids` that SentencePiece gives each text.

Input: a JSON object with `train` (texts to learn from), `size` (of the vocabulary) and `texts`.
"""

import io
import json
import sys

import sentencepiece

asked = json.load(sys.stdin)
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(asked["train"]),
    model_writer=model,
    model_type="bpe",
    vocab_size=asked["size"],
    byte_fallback=True,
    split_digits=True,
    allow_whitespace_only_pieces=True,
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    character_coverage=0.99,
    user_defined_symbols=["<think>"],
    minloglevel=2,
)
processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def kind(id):
    if processor.is_unknown(id):
        return 2
    if processor.is_control(id):
        return 3
    if processor.is_byte(id):
        return 6
    return 4 if processor.id_to_piece(id) == "<think>" else 1


count = range(processor.get_piece_size())
print(
    json.dumps(
        {
            "tokens": [processor.id_to_piece(id) for id in count],
            "scores": [processor.get_score(id) for id in count],
            "types": [kind(id) for id in count],
            "ids": processor.encode(asked["texts"]),
        },
        ensure_ascii=False,
    )
)
