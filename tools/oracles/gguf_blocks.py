"""
Prints the values of blocks as the Python package gguf dequantises them: one line per line of stdin.

Input: the name of a type of ggml and the bytes of blocks in base64. Output: their float32 values in base64.
"""

import base64
import sys

import numpy
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

numpy.seterr(all="ignore")

for line in sys.stdin:
    name, blocks = line.split()
    data = numpy.frombuffer(base64.b64decode(blocks), dtype=numpy.uint8)
    kind = GGMLQuantizationType[name]
    values = dequantize(data.reshape(1, -1), kind).astype(numpy.float32)
    print(base64.b64encode(values.tobytes()).decode())
