"""
Prints what a GGUF file of the architecture llama with a SmolLM tokenizer holds, as JSON.

Argument: the file. Input: a JSON object with `texts`, and `messages` of a chat. Output: `tensors` (the SHA-256 of the
float32 values of each parameter, under its Hugging Face name), `ids` of each text and `chat`, the rendered messages.
"""

import hashlib
import json
import sys

import numpy
from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

reader = GGUFReader(sys.argv[1])
asked = json.load(sys.stdin)


def field(name):
    return reader.fields[name].contents() if name in reader.fields else None


def parameter(name):
    *layer, part, kind = name.split(".")
    return ".".join((["model.layers", layer[1]] if layer else []) + [NAMES[part], kind])


def in_order(name, values):
    """The rows of q and k as Hugging Face has them."""
    heads = {"attn_q": field("llama.attention.head_count"), "attn_k": field("llama.attention.head_count_kv")}
    count = heads.get(name.split(".")[-2])
    if count is None:
        return values
    rows = values.shape[0]
    return values.reshape(count, rows // count // 2, 2, -1).swapaxes(1, 2).reshape(values.shape)


tensors = {}
for tensor in reader.tensors:
    values = dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
    data = numpy.ascontiguousarray(in_order(tensor.name, values)).tobytes()
    tensors[parameter(tensor.name)] = hashlib.sha256(data).hexdigest()

tokens = field("tokenizer.ggml.tokens")
tokenizer = Tokenizer(
    models.BPE(
        vocab={token: id for id, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")],
    )
)
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
tokenizer.decoder = decoders.ByteLevel()
kinds = field("tokenizer.ggml.token_type")
tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t, kind in zip(tokens, kinds) if kind == 3])
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=field("tokenizer.chat_template"))
chat = fast.apply_chat_template(asked["messages"], tokenize=False, add_generation_prompt=True)
ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in asked["texts"]]
print(json.dumps({"tensors": tensors, "ids": ids, "chat": chat}))
