"""
Prints how transformers reads a config.json: one JSON line per line of stdin.

Input: the content of a config.json, with a model_type. Output: {"config": ..., "rope": ...} or {"error": class name}.
`config` has the fields that decide what the decoder computes. `rope` has the inverse frequencies that transformers
computes for a rope type other than the default one, and the factor of cosines and sines. Its functions need PyTorch
for a dozen array operations; numpy in float32 stands in for it here.
"""

import json
import os
import sys
import types

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy
from transformers import CONFIG_MAPPING, modeling_rope_utils

FIELDS = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "initializer_range",
    "sliding_window",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
]


class Array(numpy.ndarray):
    """An array with the methods of a tensor that the rope functions call."""

    def to(self, device=None, dtype=None):
        return self if dtype is None else self.astype(dtype).view(Array)

    def float(self):
        return self.to(dtype=numpy.float32)


def array(values, dtype=None):
    return numpy.asarray(values, dtype=dtype).view(Array)


def as_torch():
    return types.SimpleNamespace(
        float=numpy.float32,
        float32=numpy.float32,
        int64=numpy.int64,
        Tensor=Array,
        arange=lambda *bounds, dtype=numpy.int64, device=None: array(numpy.arange(*bounds), dtype),
        tensor=lambda values, dtype=None, device=None: array(values, dtype),
        clamp=lambda values, low, high: array(numpy.clip(values, low, high)),
        where=lambda condition, a, b: array(numpy.where(condition, a, b)),
    )


modeling_rope_utils.torch = as_torch()


def rope(config):
    compute = modeling_rope_utils.ROPE_INIT_FUNCTIONS.get(config.rope_parameters["rope_type"])
    if compute is None:
        return None
    frequencies, magnitude = compute(config)
    return {"frequencies": [float(x) for x in frequencies], "magnitude": float(magnitude)}


def read(content):
    try:
        config = CONFIG_MAPPING[content["model_type"]].from_dict(content)
        fields = {name: getattr(config, name, None) for name in FIELDS}
        fields["layer_types"] = sorted(set(getattr(config, "layer_types", None) or []))
        fields["rope_type"] = config.rope_parameters["rope_type"]
        fields["rope_theta"] = config.rope_parameters["rope_theta"]
        return {"config": fields, "rope": rope(config)}
    except Exception as error:
        return {"error": type(error).__name__}


for line in sys.stdin:
    print(json.dumps(read(json.loads(line))), flush=True)
