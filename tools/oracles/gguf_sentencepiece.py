"""
Prints a SentencePiece model trained with the settings of Llama, as JSON: `tokens`, `scores` and `types` as a GGUF file
has them, and for each text `sentencepiece`, the ids of SentencePiece, and `transformers`, those of a LlamaTokenizer made
from tokens and scores. They differ where a text begins with a space.

Input: a JSON object with `train` (texts to learn from), `size` (of the vocabulary) and `texts`.
"""

import io
import json
import sys

import sentencepiece
from tokenizers import AddedToken
from transformers import LlamaTokenizer
from transformers.tokenization_utils_base import generate_merges

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
tokens = [processor.id_to_piece(id) for id in count]
scores = [processor.get_score(id) for id in count]
vocab = {token: id for id, token in enumerate(tokens)}
llama = LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab, dict(zip(tokens, scores))))
llama.add_tokens([AddedToken("<think>", normalized=False, special=False)])
print(
    json.dumps(
        {
            "tokens": tokens,
            "scores": scores,
            "types": [kind(id) for id in count],
            "sentencepiece": processor.encode(asked["texts"]),
            "transformers": [llama.encode(text, add_special_tokens=False) for text in asked["texts"]],
        },
        ensure_ascii=False,
    )
)
