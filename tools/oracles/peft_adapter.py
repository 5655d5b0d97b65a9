"""
Adapters in PEFT itself, over a base in a Hugging Face folder.

`peft_adapter.py hidden BASE ADAPTER` loads an adapter folder; input: a JSON list of token id lists; output: the last
hidden states of each, as JSON. `peft_adapter.py make BASE FOLDER` saves an adapter with random pairs and a trained
row of token `token`, as input says ({"token": 7, "rslora": true}), and beside it, in `merged`, the model that PEFT merges.
"""

import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

torch.manual_seed(3)
mode, base, folder = sys.argv[1:4]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
asked = json.load(sys.stdin)

if mode == "hidden":
    adapted = PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        states = [adapted(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1] for ids in asked]
    json.dump([state.tolist() for state in states], sys.stdout)
else:
    tables = ["embed_tokens"] if model.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=3,
            lora_alpha=7,
            use_rslora=asked["rslora"],
            target_modules=["q_proj", "v_proj", "up_proj", "down_proj"],
            trainable_token_indices={table: [asked["token"]] for table in tables},
            task_type="CAUSAL_LM",
        ),
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name or "trainable_tokens" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    adapted.save_pretrained(folder)
    adapted.merge_and_unload().save_pretrained(f"{folder}/merged")
