"""SmolLM2 in transformers on the CPU: a peer of the `real` benchmark.

Arguments: a model folder, a file of inputs (bench/lib/real-inputs.ts), f32 or bf16, the number of threads. Answers each
request on stdin with one line of JSON:

    encode BATCH      the last hidden state of each abstract    {"tokens", "seconds", "peakMb"}
    generate COUNT    greedy tokens after COUNT prompts         {"tokens", "seconds", "peakMb"}
    score             abstracts by themselves                   {"sequences", "logLikelihood", "predicted", "vectors"}
    greedy            answers to the chats, one at a time       {"prompts", "answers", "texts"}
    quit

The first line it prints says what it is and which batch sizes are worth trying. Abstracts are sorted by length, so that
batches hold little padding. `vectors` is base64 of float32, one row of unit length per abstract.
"""

import base64
import json
import sys
import time

import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER, INPUTS, DTYPE, THREADS = sys.argv[1:5]
torch.set_num_threads(int(THREADS))
transformers.logging.set_verbosity_error()
with open(INPUTS) as file:
    inputs = json.load(file)
model = AutoModelForCausalLM.from_pretrained(
    FOLDER, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[DTYPE], attn_implementation="sdpa"
).eval()
# Nothing but the length ends a completion.
model.generation_config.eos_token_id = None
model.generation_config.pad_token_id = 0


def last_states(sequences):
    """The last hidden state of each of these sequences, padded on the right and masked."""
    lengths = [len(ids) for ids in sequences]
    longest = max(lengths)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in sequences])
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden[torch.arange(len(lengths)), torch.tensor(lengths) - 1]


def encode(size):
    order = sorted(inputs["abstracts"], key=len)
    for at in range(0, len(order), size):
        last_states(order[at : at + size])
    return sum(map(len, order))


def generate(prompts, count):
    ids = torch.tensor(prompts)
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, do_sample=False
    )
    return out[:, ids.shape[1] :].tolist()


def score():
    likelihoods, predicted, vectors = [], 0, []
    for ids in inputs["scored"]:
        row = torch.tensor([ids])
        hidden = model.model(input_ids=row, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden)[0, :-1].float()
        likelihoods.append(-F.cross_entropy(logits, row[0, 1:], reduction="sum").item())
        predicted += len(ids) - 1
        vectors.append(F.normalize(hidden[0, -1].float(), dim=0))
    packed = base64.b64encode(torch.stack(vectors).numpy().astype("<f4").tobytes()).decode()
    return dict(sequences=len(vectors), logLikelihood=sum(likelihoods), predicted=predicted, vectors=packed)


def greedy():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    prompts, answers = [], []
    for chat in inputs["chats"]:
        messages = [{"role": "user", "content": chat}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        prompts.append(list(prompt))
        answers.append(generate([list(prompt)], inputs["answerTokens"])[0])
    texts = [tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in answers]
    return dict(prompts=prompts, answers=answers, texts=texts)


def peak_mb():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024)


def timed(work):
    start = time.perf_counter()
    tokens = work()
    return dict(tokens=tokens, seconds=time.perf_counter() - start, peakMb=peak_mb())


def answer(**fields):
    print(json.dumps(fields), flush=True)


def main():
    version = f"transformers {transformers.__version__}, torch {torch.__version__}"
    answer(version=version, threads=torch.get_num_threads(), batches=[4, 8, 16, 32])
    for line in sys.stdin:
        words = line.split()
        with torch.inference_mode():
            match words:
                case ["quit"]:
                    return
                case ["encode", size]:
                    answer(**timed(lambda: encode(int(size))))
                case ["generate", count]:
                    prompts = inputs["prompts"][: int(count)]
                    answer(**timed(lambda: sum(map(len, generate(prompts, inputs["newTokens"])))))
                case ["score"]:
                    answer(**score())
                case ["greedy"]:
                    answer(**greedy())
                case _:
                    answer(error=f"expected encode, generate, score, greedy or quit, found {line.strip()!r}")


if __name__ == "__main__":
    main()
