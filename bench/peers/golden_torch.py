#!/usr/bin/python3
"""Recomputes the numbers of packages/search-r3/test/reference/golden.json with PyTorch's autograd in float64.

    /usr/bin/python3 bench/peers/golden_torch.py                     prints them as JSON
    /usr/bin/python3 bench/peers/golden_torch.py path/golden.json    prints the largest difference from the file

The file itself was written by the models of Hugging Face transformers; the decoder here was written from the papers, so
the two check each other. Models and batches are those of `fixtures.ts` next to the file, drawn from the same random
streams: xoroshiro128+ seeded with the SHA-256 of seed and labels.
"""

import hashlib
import json
import math
import struct
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
OLD_VOCABULARY, EMBED = 22, 22
SHARED = dict(vocab=23, hidden=16, inner=20, layers=2, heads=4, kv_heads=2, eps=1e-5)
CONFIGS = {
    "llama": dict(SHARED, head=8, theta=500.0, scaling=(4, 1, 4, 48), tied=False, qkv_bias=False, o_bias=False, mlp_bias=True, qk_norm=False),
    "qwen2": dict(SHARED, head=4, theta=1e4, scaling=None, tied=True, qkv_bias=True, o_bias=False, mlp_bias=False, qk_norm=False),
    "qwen3": dict(SHARED, head=6, theta=1e3, scaling=None, tied=False, qkv_bias=True, o_bias=True, mlp_bias=False, qk_norm=True),
}  # fmt: skip
OPTIMIZER = dict(learningRate=0.01, beta1=0.9, beta2=0.99, epsilon=1e-8, weightDecay=0.1, maxGradNorm=0.5)


class Stream:
    """xoroshiro128+ (Blackman and Vigna 2018; rotations 24, 16, 37)."""

    def __init__(self, seed, *labels):
        digest = hashlib.sha256(json.dumps([seed, *labels], separators=(",", ":")).encode()).digest()
        high0, low0, high1, low1 = struct.unpack("<4I", digest[:16])
        self.a, self.b = high0 << 32 | low0, high1 << 32 | low1

    def next32(self):
        result, mask = (self.a + self.b) & 0xFFFFFFFF, (1 << 64) - 1
        x = self.a ^ self.b
        self.a = ((self.a << 24 | self.a >> 40) ^ x ^ x << 16) & mask
        self.b = (x << 37 | x >> 27) & mask
        return result

    def uniform(self):
        high = self.next32() >> 5
        return (high * 67108864 + (self.next32() >> 6)) / 9007199254740992

    def integer(self, n):
        return math.floor(self.uniform() * n)

    def normal(self):
        radius = math.sqrt(-2 * math.log(1 - self.uniform()))
        return radius * math.cos(2 * math.pi * self.uniform())

    def words(self, count):
        return [self.integer(OLD_VOCABULARY) for _ in range(count)]


def shapes(c):
    queries, keys, hidden, inner = c["heads"] * c["head"], c["kv_heads"] * c["head"], c["hidden"], c["inner"]
    yield "model.embed_tokens.weight", (c["vocab"], hidden)
    for layer in range(c["layers"]):
        prefix = f"model.layers.{layer}"
        for name, rows, columns, bias in [
            ("self_attn.q", queries, hidden, c["qkv_bias"]),
            ("self_attn.k", keys, hidden, c["qkv_bias"]),
            ("self_attn.v", keys, hidden, c["qkv_bias"]),
            ("self_attn.o", hidden, queries, c["o_bias"]),
            ("mlp.gate", inner, hidden, c["mlp_bias"]),
            ("mlp.up", inner, hidden, c["mlp_bias"]),
            ("mlp.down", hidden, inner, c["mlp_bias"]),
        ]:
            yield f"{prefix}.{name}_proj.weight", (rows, columns)
            if bias:
                yield f"{prefix}.{name}_proj.bias", (rows,)
        yield f"{prefix}.input_layernorm.weight", (hidden,)
        yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
        if c["qk_norm"]:
            yield f"{prefix}.self_attn.q_norm.weight", (c["head"],)
            yield f"{prefix}.self_attn.k_norm.weight", (c["head"],)
    yield "model.norm.weight", (hidden,)
    if not c["tied"]:
        yield "lm_head.weight", (c["vocab"], hidden)


def weights(architecture, label="weights"):
    """Exact in float32; norms scatter around 1, the rest around 0."""
    stream, result = Stream(11, label, architecture), {}
    for name, shape in shapes(CONFIGS[architecture]):
        scale = 0.2 if len(shape) == 1 else 1 / math.sqrt(4 if "embed_tokens" in name else shape[1])
        centre = 1 if name.endswith("norm.weight") else 0
        values = [centre + scale * stream.normal() for _ in range(math.prod(shape))]
        result[name] = torch.tensor(values).float().double().reshape(shape)
    return result


def frequencies(c):
    result = c["theta"] ** (torch.arange(0, c["head"], 2) / -c["head"])
    if c["scaling"] is None:
        return result
    factor, low, high, original = c["scaling"]
    share = ((original * result / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    return result * (share + (1 - share) / factor)


def decoder(c, w, tokens):
    """Final hidden states and logits of one sequence."""
    length, group = len(tokens), c["heads"] // c["kv_heads"]
    angles = torch.outer(torch.arange(length).double(), frequencies(c))
    turn = torch.polar(torch.ones_like(angles), angles)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)

    def norm(x, name):
        return w[name] * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + c["eps"])

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def rotate(x):
        turned = torch.complex(*x.chunk(2, dim=-1)) * turn
        return torch.cat((turned.real, turned.imag), dim=-1)

    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(c["layers"]):
        prefix = f"model.layers.{layer}"
        y = norm(x, f"{prefix}.input_layernorm.weight")
        q, k, v = (linear(y, f"{prefix}.self_attn.{n}_proj").view(length, -1, c["head"]).transpose(0, 1) for n in "qkv")
        if c["qk_norm"]:
            q, k = norm(q, f"{prefix}.self_attn.q_norm.weight"), norm(k, f"{prefix}.self_attn.k_norm.weight")
        q, k, v = rotate(q), rotate(k).repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        scores = (q @ k.transpose(1, 2) / math.sqrt(c["head"])).masked_fill(future, -math.inf)
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).reshape(length, -1)
        x = x + linear(mixed, f"{prefix}.self_attn.o_proj")
        y = norm(x, f"{prefix}.post_attention_layernorm.weight")
        y = F.silu(linear(y, f"{prefix}.mlp.gate_proj")) * linear(y, f"{prefix}.mlp.up_proj")
        x = x + linear(y, f"{prefix}.mlp.down_proj")
    hidden = norm(x, "model.norm.weight")
    return hidden, hidden @ w["model.embed_tokens.weight" if c["tied"] else "lm_head.weight"].T


def embeddings(c, w, sequences):
    return F.normalize(torch.stack([decoder(c, w, tokens)[0][-1] for tokens in sequences]), dim=-1)


def info_nce(cosines, positives, temperature, excluded):
    scores = (cosines / temperature).masked_fill(torch.tensor(excluded), -math.inf)
    return F.cross_entropy(scores, torch.tensor(positives))


def sft_batch(step):
    stream = Stream(12, "sft", step)
    targets = [([*stream.words(n), EMBED], start) for n, start in [(6, 3), (8, 2), (3, 3)]]
    queries = [[*stream.words(n - 1), EMBED] for n in [4, 7, 3]] + [targets[0][0], targets[1][0]]
    return targets, queries, [[*stream.words(n - 1), EMBED] for n in [5, 9, 3, 6]]


def sft_loss(c, w, base, batch):
    """Cross-entropy + 0.1 KL to the base + InfoNCE + triplet margin."""
    targets, queries, documents = batch
    rows, base_rows, labels = [], [], []
    for tokens, start in targets:
        rows.append(decoder(c, w, tokens[:-1])[1][start - 1 :])
        base_rows.append(decoder(c, base, tokens[:-1])[1][start - 1 :])
        labels += tokens[start:]
    rows, base_rows, labels = torch.cat(rows), torch.cat(base_rows), torch.tensor(labels)
    old = labels < OLD_VOCABULARY
    policy, reference = (x[old, :OLD_VOCABULARY].log_softmax(-1) for x in (rows, base_rows))
    kl = F.kl_div(policy, reference, log_target=True, reduction="batchmean")
    q, d = embeddings(c, w, queries), embeddings(c, w, documents)
    positives, negatives = [0, 1, 0, 0, 1], [2, 3, 3, 2, 3]
    excluded = [[(i, j) in ((2, 1), (4, 2)) for j in range(4)] for i in range(5)]
    near, far = ((q * d[chosen]).sum(-1) for chosen in (positives, negatives))
    triplet = (0.4 - near + far).clamp(min=0).mean()
    return F.cross_entropy(rows, labels) + 0.1 * kl + info_nce(q @ d.T, positives, 0.2, excluded) + triplet


TEMPERATURE = 0.7


def log_probabilities(c, w, tokens, start):
    rows = (decoder(c, w, tokens)[1][start - 1 : -1] / TEMPERATURE).log_softmax(-1)
    return rows.gather(1, torch.tensor(tokens[start:])[:, None])[:, 0]


def grpo_batch(c, w, step):
    """(prompt, length, advantage, positive, false negatives, masked), sampled near the starting weights."""
    stream = Stream(13, "grpo", step)
    prompts, none = [stream.words(3), stream.words(2)], [False] * 3
    completions = []
    for prompt, length, advantage, positive, excluded, masked in [
        (0, 4, 1.1, 0, none, False),
        (0, 6, -0.7, 0, none, False),
        (0, 1, 0.3, 0, [False, False, True], False),
        (1, 5, 0.9, 1, none, False),
        (1, 6, -0.6, None, none, True),
        (1, 2, 0, 1, none, False),
    ]:
        words = stream.words(length)
        words[-1] = stream.integer(OLD_VOCABULARY) if masked else EMBED
        tokens, start = prompts[prompt] + words, len(prompts[prompt])
        own = log_probabilities(c, w, tokens, start)
        old, reference = (torch.tensor([float(x) + 0.3 * stream.normal() for x in own]) for _ in range(2))
        completions.append((tokens, start, old, reference, advantage, positive, excluded, masked))
    return completions, [[*stream.words(n - 1), EMBED] for n in [5, 3, 8]]


def grpo_loss(c, w, batch):
    """Clipped policy gradient and 0.04 k3, over all tokens that count, + 0.3 InfoNCE of what did better."""
    completions, documents = batch
    total, count = 0, 0
    for tokens, start, old, reference, advantage, _, _, masked in completions:
        if masked:
            continue
        own = log_probabilities(c, w, tokens, start)
        ratio = (own - old).exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - 0.2, 1 + 0.28) * advantage)
        k3 = (reference - own).exp() - (reference - own) - 1
        total, count = total + (0.04 * k3 - gain).sum(), count + len(own)
    better = [row for row in completions if row[4] > 0 and row[5] is not None]
    cosines = embeddings(c, w, [row[0] for row in better]) @ embeddings(c, w, documents).T
    return total / count + 0.3 * info_nce(cosines, [row[5] for row in better], 0.1, [row[6] for row in better])


def digests(tensors):
    flat = {name: x.detach().flatten() for name, x in tensors.items()}
    return {name: [x.norm().item(), (x * torch.arange(len(x)).cos()).sum().item()] for name, x in flat.items()}


def train(architecture, batches, loss_of):
    w = {name: x.clone().requires_grad_() for name, x in weights(architecture).items()}
    o, steps = OPTIMIZER, []
    optimizer = torch.optim.AdamW(
        w.values(), lr=o["learningRate"], betas=(o["beta1"], o["beta2"]), eps=o["epsilon"], weight_decay=o["weightDecay"]
    )
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_of(w, batch)
        loss.backward()
        gradients = digests({name: x.grad for name, x in w.items()})
        before = {name: x.detach().clone() for name, x in w.items()}
        norm = torch.nn.utils.clip_grad_norm_(w.values(), o["maxGradNorm"])
        optimizer.step()
        changes = digests({name: x.detach() - before[name] for name, x in w.items()})
        steps.append(dict(loss=loss.item(), gradientNorm=norm.item(), gradients=gradients, changes=changes))
    return steps


def golden():
    models = {}
    for architecture, c in CONFIGS.items():
        w, base = weights(architecture), weights(architecture, "base")
        tokens = sft_batch(0)[2][1]
        hidden, logits = decoder(c, w, tokens)
        models[architecture] = dict(
            tokens=tokens,
            hidden=hidden.flatten().tolist(),
            logits=logits[-1].tolist(),
            sft=train(architecture, map(sft_batch, range(3)), lambda w, b: sft_loss(c, w, base, b)),
            grpo=train(architecture, [grpo_batch(c, w, i) for i in range(3)], lambda w, b: grpo_loss(c, w, b)),
        )
    return dict(source=f"torch {torch.__version__}, float64", optimizer=OPTIMIZER, models=models)


def difference(found, expected):
    """The largest, relative where numbers are above 1; every field must be there."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), (found.keys(), expected.keys())
        return max(difference(found[key], value) for key, value in expected.items() if key != "source")
    if isinstance(expected, list):
        assert len(found) == len(expected)
        return max(map(difference, found, expected))
    return abs(found - expected) / max(1, abs(expected))


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(x) for key, x in value.items()}
    if isinstance(value, list):
        return [rounded(x) for x in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


if len(sys.argv) > 1:
    with open(sys.argv[1]) as file:
        print(f"largest difference {difference(golden(), json.load(file)):.1e}")
else:
    print(json.dumps(rounded(golden())))
