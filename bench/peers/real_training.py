"""A contrastive training step of SmolLM2 in transformers and PEFT on the CPU: a peer of the `real` benchmark.

Arguments: a model folder, a file of inputs (bench/lib/real-training.ts), full or lora, f32 or bf16, the number of
threads, an adapter folder (or -). Answers each line on stdin with a whole step (forward, backward, clipping, AdamW):
{"tokens", "seconds", "peakMb", "loss", "norm"}. Sequences are sorted by length and run in groups with little padding.
A batch that is `cached` in the inputs is embedded without a graph first, and then group by group with the gradient of
its embeddings (Gao et al. 2021, arXiv 2101.06983); another one is kept whole for one backward pass, which is faster and
takes 3 MB a token. `norm` is that of the gradient before it is clipped, without rows of tokens.
"""

import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM

FOLDER, INPUTS, KIND, DTYPE, THREADS, ADAPTER = sys.argv[1:7]
GROUP = 16
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


def embed(members):
    vectors = [None] * len(sequences)
    for at in range(0, len(members), GROUP):
        group = members[at : at + GROUP]
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


def step():
    optimizer.zero_grad(set_to_none=True)
    if inputs["cached"]:
        with torch.no_grad():
            leaf = torch.stack(embed(order))
        leaf.requires_grad_()
        loss = contrastive(leaf)
        loss.backward()
        for at in range(0, len(order), GROUP):
            group = order[at : at + GROUP]
            vectors = embed(group)
            sum((vectors[i] * leaf.grad[i]).sum() for i in group).backward()
    else:
        loss = contrastive(torch.stack(embed(order)))
        loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    return loss.item(), float(norm)


versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
print(json.dumps({"version": versions}), flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    loss, norm = step()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    tokens = sum(map(len, sequences))
    print(json.dumps({"tokens": tokens, "seconds": seconds, "peakMb": peak, "loss": loss, "norm": norm}), flush=True)
