#!/usr/bin/python3
"""A Qwen2-style training step in PyTorch on the CPU: what the `training` benchmark is compared with.

Reads requests from stdin and answers each with one line of JSON, so that a driver can alternate its own steps with
these on the same machine:

    step a 5       five training steps at shape a     {"shape", "steps", "tokensPerSecond", "gflops", "peakMb", "loss"}
    matmul 2048    best product of two 2048-squares   {"matmul", "gflops"}
    quit

The first line it prints says which PyTorch it is. A step is forward, next-token cross-entropy over all tokens (tied
head), backward and AdamW, in float32. The first request for a shape is preceded by two untimed steps; asking for
another shape drops the previous model. peakMb is the peak resident memory of the process since the shape was built
(Linux: VmHWM), including the interpreter and libraries.

With the argument `plain`, the model is written as people usually write it (keys and values repeated for their query
heads, the mask filled in) and the allocator keeps its defaults; README.md lists what differs without it.
"""

import json
import math
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
# Without these, glibc returns every large tensor to the system and faults its pages in again (about 10 % of a step).
# The allocator reads them when the process starts, hence the restart.
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
PLAIN = sys.argv[1:] == ["plain"]
if not PLAIN and __name__ == "__main__" and any(name not in os.environ for name in MALLOC):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**MALLOC, **os.environ})

import torch  # noqa: E402  (the number of threads must be set before)
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

SHAPES = {
    "a": dict(dim=256, layers=6, heads=8, kv_heads=4, ffn=704, vocab=2048, batch=32, length=96),
    "b": dict(dim=512, layers=8, heads=8, kv_heads=4, ffn=1408, vocab=8192, batch=16, length=128),
}


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


def rotate(x, cos, sin):
    """Rotary embedding of [batch, heads, length, head size], halves rotated against each other."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def plain_attention(q, k, v, mask):
    """Attention of [batch, heads, length, head size] as it is usually written."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(mask, -math.inf).softmax(-1) @ v


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.kv_heads = s["heads"], s["kv_heads"]
        self.head_dim = s["dim"] // s["heads"]
        kv = self.kv_heads * self.head_dim
        self.norm1 = RMSNorm(s["dim"])
        self.q = nn.Linear(s["dim"], s["dim"])
        self.k = nn.Linear(s["dim"], kv)
        self.v = nn.Linear(s["dim"], kv)
        self.o = nn.Linear(s["dim"], s["dim"], bias=False)
        self.norm2 = RMSNorm(s["dim"])
        self.gate = nn.Linear(s["dim"], s["ffn"], bias=False)
        self.up = nn.Linear(s["dim"], s["ffn"], bias=False)
        self.down = nn.Linear(s["ffn"], s["dim"], bias=False)

    def forward(self, x, cos, sin, mask):
        batch, length, dim = x.shape
        h = self.norm1(x)
        split = lambda y, heads: y.view(batch, length, heads, self.head_dim).transpose(1, 2)
        q = rotate(split(self.q(h), self.heads), cos, sin)
        k = rotate(split(self.k(h), self.kv_heads), cos, sin)
        v = split(self.v(h), self.kv_heads)
        y = (plain_attention if PLAIN else self.attention)(q, k, v, mask)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, dim))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))

    def attention(self, q, k, v, mask):
        batch, _, length, _ = q.shape
        # The query heads that share a key head are rows of one product: keys and values are never repeated.
        rows = self.heads // self.kv_heads * length
        q = q.reshape(batch * self.kv_heads, rows, self.head_dim)
        k = k.reshape(batch * self.kv_heads, length, self.head_dim)
        v = v.reshape(batch * self.kv_heads, length, self.head_dim)
        scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=1 / math.sqrt(self.head_dim))
        return torch.bmm(scores.softmax(-1), v).view(batch, self.heads, length, self.head_dim)


class Decoder(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.embedding = nn.Embedding(s["vocab"], s["dim"])
        self.blocks = nn.ModuleList(Block(s) for _ in range(s["layers"]))
        self.norm = RMSNorm(s["dim"])
        half = s["dim"] // s["heads"] // 2
        angles = torch.outer(torch.arange(s["length"]), 1e6 ** (-torch.arange(half) / half))
        hidden = torch.ones(s["length"], s["length"], dtype=torch.bool).triu(1)
        causal = torch.zeros(s["length"], s["length"]).masked_fill(hidden, -math.inf)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("mask", hidden if PLAIN else causal.repeat(s["heads"] // s["kv_heads"], 1))
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def loss(self, tokens, labels):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin, self.mask)
        logits = F.linear(self.norm(x).flatten(0, 1), self.embedding.weight)
        return F.cross_entropy(logits, labels.flatten())


class Training:
    def __init__(self, name):
        self.shape = s = SHAPES[name]
        torch.manual_seed(1)
        reset_peak()
        self.model = Decoder(s)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        tokens = torch.randint(s["vocab"], (s["batch"], s["length"] + 1))
        self.tokens, self.labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        for _ in range(2):
            self.step()

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.model.loss(self.tokens, self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def flops(self):
        """Multiplications and additions of the matrix products of a step: forward once, backward twice."""
        s = self.shape
        kv = s["dim"] * s["kv_heads"] // s["heads"]
        weights = s["layers"] * (2 * s["dim"] * (s["dim"] + kv) + 3 * s["dim"] * s["ffn"]) + s["dim"] * s["vocab"]
        attention = s["layers"] * 2 * s["length"] * s["dim"]
        return 3 * 2 * s["batch"] * s["length"] * (weights + attention)


def reset_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass  # then the peak is that of the whole process


def peak_mb():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024)


def matmul_gflops(size):
    a, b, c = (torch.randn(size, size) for _ in range(3))
    best = math.inf
    for _ in range(12):
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def answer(**fields):
    print(json.dumps(fields), flush=True)


def main():
    torch.set_flush_denormal(True)
    answer(peer="torch", plain=PLAIN, version=torch.__version__, threads=torch.get_num_threads(), python=sys.version.split()[0])
    name, training = None, None
    for line in sys.stdin:
        words = line.split()
        if words[:1] == ["quit"]:
            return
        if len(words) == 3 and words[0] == "step" and words[1] in SHAPES and words[2].isdigit() and int(words[2]) > 0:
            if words[1] != name:
                training = None
                name, training = words[1], Training(words[1])
            steps = int(words[2])
            start = time.perf_counter()
            for _ in range(steps):
                loss = training.step()
            seconds = (time.perf_counter() - start) / steps
            shape = training.shape
            answer(
                shape=name,
                steps=steps,
                tokensPerSecond=round(shape["batch"] * shape["length"] / seconds, 1),
                gflops=round(training.flops() / seconds / 1e9, 1),
                peakMb=peak_mb(),
                loss=round(loss, 6),
            )
        elif len(words) == 2 and words[0] == "matmul" and words[1].isdigit() and int(words[1]) > 0:
            answer(matmul=int(words[1]), gflops=round(matmul_gflops(int(words[1])), 1))
        else:
            answer(error=f"expected 'step a|b COUNT', 'matmul SIZE' or 'quit', found {line.strip()!r}")


if __name__ == "__main__":
    main()
