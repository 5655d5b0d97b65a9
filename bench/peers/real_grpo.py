"""Whole steps of GRPO with SmolLM2 in TRL on the CPU: a peer of the `real` benchmark.

Arguments: a model folder, a file of inputs (bench/lib/real-training-inputs.ts), the number of threads, and for trials the
size of the micro-batch (default MICRO_BATCH). Answers each line on stdin with a step (rollouts, rewards, gradients, AdamW):
{"seconds", "peakMb", "completionLength"}. An adapter of rank 16 on all linear layers, bfloat16, rewards that cost nothing
and differ within each group. All completions of a step are generated together; as many steps of accumulation as a
generation has micro-batches, so that TRL needs no second pass for the old probabilities. No gradient checkpointing.
"""

import json
import sys
import time

# TRL and its libraries print; answers go to the real stdout.
answers, sys.stdout = sys.stdout, sys.stderr


def answer(**fields):
    print(json.dumps(fields), file=answers, flush=True)


try:
    import torch
    import transformers
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
except ModuleNotFoundError as error:
    answer(error=f"{error}: remove .cache/peers/venv, and it is installed again")
    sys.exit(1)

FOLDER, INPUTS, THREADS = sys.argv[1:4]
MICRO_BATCH = 16
torch.set_num_threads(int(THREADS))
transformers.logging.set_verbosity_error()
with open(INPUTS) as file:
    inputs = json.load(file)
tokenizer = AutoTokenizer.from_pretrained(FOLDER, padding_side="left")
end, *others = inputs["stop"]
tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
tokenizer.pad_token = tokenizer.convert_ids_to_tokens(others[0] if others else 0)
prompts = [tokenizer.decode(ids) for ids in inputs["prompts"]]
if tokenizer(prompts)["input_ids"] != inputs["prompts"]:
    answer(error="the tokenizer does not read the prompts as they were given")
    sys.exit(1)
model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.bfloat16, attn_implementation="sdpa")
model.generation_config.eos_token_id = inputs["stop"]
completions_per_step = len(prompts) * inputs["samples"]
micro_batch = min(completions_per_step, int(sys.argv[4]) if len(sys.argv) > 4 else MICRO_BATCH)


def rewards(completions, **_):
    return [float(i % inputs["samples"]) for i in range(len(completions))]


def peak_mb():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024)


class Steps(TrainerCallback):
    """Holds each step back until it is asked for."""

    def wait(self, control):
        if not sys.stdin.readline():
            control.should_training_stop = True
        self.started = time.perf_counter()

    def on_train_begin(self, args, state, control, **_):
        self.wait(control)

    def on_log(self, args, state, control, logs=None, **_):
        if "completions/mean_length" not in logs:
            return
        seconds = time.perf_counter() - self.started
        answer(seconds=seconds, peakMb=peak_mb(), completionLength=logs["completions/mean_length"])
        self.wait(control)


config = trl.GRPOConfig(
    output_dir="/nonexistent",
    save_strategy="no",
    report_to="none",
    disable_tqdm=True,
    logging_steps=1,
    use_cpu=True,
    bf16=True,
    gradient_checkpointing=False,
    dataloader_pin_memory=False,
    shuffle_dataset=False,
    max_steps=1000,
    per_device_train_batch_size=micro_batch,
    gradient_accumulation_steps=completions_per_step // micro_batch,
    num_generations=inputs["samples"],
    max_completion_length=inputs["newTokens"],
    temperature=1.0,
    learning_rate=1e-5,
    lr_scheduler_type="constant",
    max_grad_norm=1.0,
    adam_beta2=0.95,
    weight_decay=0.01,
    beta=0.0,
    num_iterations=1,
)
trainer = trl.GRPOTrainer(
    model=model,
    args=config,
    reward_funcs=rewards,
    train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
    processing_class=tokenizer,
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    callbacks=[Steps()],
)
answer(version=f"TRL {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
trainer.train()
