"""Reads tokenizer folders as transformers' AutoTokenizer does.

Reads JSON lines: {"folder", "texts"?, "chats"?}. A chat is {"messages", "add_generation_prompt"?}.
Prints a JSON line for each: {"class", "size", "added", "named", "ids", "marked", "chats", "decoded"} or {"error"}.
`ids` are without the post-processor's tokens, `marked` with them; `decoded` are the texts of `ids`; `added` are the added
tokens by id, with their flags.
"""

import json
import os
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"

from transformers import AutoTokenizer  # noqa: E402


def read(case):
    tokenizer = AutoTokenizer.from_pretrained(case["folder"])
    texts = case.get("texts", [])
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    chats = [
        tokenizer.apply_chat_template(
            chat["messages"],
            add_generation_prompt=chat.get("add_generation_prompt", False),
            tokenize=True,
            return_dict=False,
        )
        for chat in case.get("chats", [])
    ]
    return {
        "class": type(tokenizer).__name__,
        "size": max([*tokenizer.get_vocab().values(), -1]) + 1,
        "added": {str(i): token.__getstate__() for i, token in tokenizer.added_tokens_decoder.items()},
        "named": tokenizer.special_tokens_map,
        "ids": ids,
        "marked": [tokenizer.encode(text) for text in texts],
        "chats": chats,
        "decoded": [tokenizer.decode(one, clean_up_tokenization_spaces=False) for one in ids],
    }


for line in sys.stdin:
    try:
        result = read(json.loads(line))
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result), flush=True)
