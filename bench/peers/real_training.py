"""A contrastive training step of SmolLM2 in transformers and PEFT on the CPU: a peer of the `real` benchmark.

Arguments: a model folder, a file of inputs (bench/lib/real-training-inputs.ts), full or lora, f32 or bf16, the number of
threads, an adapter folder (or -). Answers each line `step` or `step GROUP` on stdin with a whole step (forward, backward,
clipping, AdamW): {"tokens", "seconds", "peakMb", "loss", "norm"}. The first line it prints says which groups are worth
trying: sequences are sorted by length and run that many at a time, with little padding. A batch that is `cached` in the
inputs is embedded without a graph first, and then group by group with the gradient of its embeddings (Gao et al. 2021,
arXiv 2101.06983); another one is kept whole for one backward pass, which is faster and takes 3 MB a token. `norm` is that
of the gradient before it is clipped, without rows of tokens. `peakMb` counts from the first step with groups of that size.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM

FOLDER, INPUTS, KIND, DTYPE, THREADS, ADAPTER = sys.argv[1:7]
torch.set_num_threads(int(THREADS))
transformers.logging.set_verbosity_error()
with open(INPUTS) as file:
    inputs = json.load(file)
model = AutoModelForCausalLM.from_pretrained(
    FOLDER, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[DTYPE], attn_implementation="sdpa"
)
if KIND == "lora":
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, ADAPTER, is_trainable=True)
    for name, parameter in model.named_parameters():
        # The usual mixture: a frozen base in bfloat16, its pairs in float32. Rows of tokens are not compared here.
        parameter.requires_grad_("lora_" in name)
inner = model.get_base_model().model if KIND == "lora" else model.model
if KIND == "full":
    model.get_input_embeddings().weight.requires_grad_(False)
trained = [parameter for parameter in inner.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.01)
sequences = inputs["queries"] + inputs["documents"]
order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
model.train()


def embed(members, size):
    vectors = [None] * len(sequences)
    for at in range(0, len(members), size):
        group = members[at : at + size]
        lengths = [len(sequences[i]) for i in group]
        ids = torch.tensor([sequences[i] + [0] * (max(lengths) - len(sequences[i])) for i in group])
        mask = torch.tensor([[1] * n + [0] * (max(lengths) - n) for n in lengths])
        hidden = inner(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        states = hidden[torch.arange(len(group)), torch.tensor(lengths) - 1]
        for i, state in zip(group, F.normalize(states.float(), dim=-1)):
            vectors[i] = state
    return vectors


def contrastive(vectors):
    count = len(inputs["queries"])
    scores = vectors[:count] @ vectors[count:].T / inputs["temperature"]
    return F.cross_entropy(scores, torch.arange(count))


def step(size):
    optimizer.zero_grad(set_to_none=True)
    if inputs["cached"]:
        with torch.no_grad():
            leaf = torch.stack(embed(order, size))
        leaf.requires_grad_()
        loss = contrastive(leaf)
        loss.backward()
        for at in range(0, len(order), size):
            group = order[at : at + size]
            vectors = embed(group, size)
            sum((vectors[i] * leaf.grad[i]).sum() for i in group).backward()
    else:
        loss = contrastive(torch.stack(embed(order, size)))
        loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    return loss.item(), float(norm)


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


def main():
    version = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(json.dumps({"version": version, "groups": [8, 16, 32]}), flush=True)
    size = 16
    for line in sys.stdin:
        words = line.split()
        asked = int(words[1]) if len(words) > 1 else size
        if asked != size:
            reset_peak()
        size = asked
        started = time.perf_counter()
        loss, norm = step(size)
        seconds = time.perf_counter() - started
        tokens = sum(map(len, sequences))
        print(
            json.dumps({"tokens": tokens, "seconds": seconds, "peakMb": peak_mb(), "loss": loss, "norm": norm}),
            flush=True,
        )


if __name__ == "__main__":
    main()
