"""Tokens a second of Temper and of TRL on the CPU, one thread each, in one run: sampling, and a GRPO step over what was sampled.

    cargo build --release
    python3 -m venv /tmp/venv-trl && /tmp/venv-trl/bin/pip install trl==1.16.0
    /tmp/venv-trl/bin/python scripts/dev/bench_trl.py [--rounds 5]

Both sides have a Qwen3 of 4 layers, hidden 256, vocabulary 4096, f32, fresh weights; 4 prompts of 32 tokens, 8 samples each, 64 new tokens.
TRL samples by `model.generate` (what GRPOTrainer calls without vLLM) and learns by GRPOTrainer's own `compute_loss`, a backward, the clipping of
the gradient and torch's fused AdamW. The log-probabilities that Temper's sampler records are computed by the sampler; TRL's generate leaves them
out, and its loss is told to take the learner's own as old ones, which is its cheapest setting. Rounds alternate, and the ratio of each round is
printed, so that other work on the machine weighs on both.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

PROMPTS, SAMPLES, PROMPT, COMPLETION, VOCABULARY = 4, 8, 32, 64, 4096
SHAPE = dict(
    vocab_size=VOCABULARY, hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
    max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=0, eos_token_id=1, bos_token_id=None,
)
ROOT = Path(__file__).resolve().parents[2]


def trainer(model, folder):
    """A GRPOTrainer around the model, with a tokenizer of numbered words; only its loss is used."""
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w2"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w1")
    config = GRPOConfig(
        output_dir=folder, use_cpu=True, per_device_train_batch_size=PROMPTS * SAMPLES, num_generations=SAMPLES, max_completion_length=COMPLETION,
        beta=0.0, report_to=[], bf16=False, gradient_checkpointing=False, disable_dropout=True, loss_type="dapo",
    )
    grpo = GRPOTrainer(model=model, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=config, processing_class=tokenizer,
                       train_dataset=Dataset.from_dict({"prompt": ["w3"]}))
    # What its training loop would set.
    grpo.current_gradient_accumulation_steps = 1
    return grpo


def sample(model, prompts):
    began = time.perf_counter()
    with torch.no_grad():
        out = model.generate(
            input_ids=prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            min_new_tokens=COMPLETION, max_new_tokens=COMPLETION, pad_token_id=0, use_cache=True,
        )
    return out, PROMPTS * SAMPLES * COMPLETION / (time.perf_counter() - began)


def learn(grpo, model, optimizer, tokens):
    advantages = torch.tensor([1.0, -1.0]).repeat(PROMPTS * SAMPLES // 2)
    prompts, completions = tokens[:, :PROMPT], tokens[:, PROMPT:]
    inputs = dict(
        prompt_ids=prompts, prompt_mask=torch.ones_like(prompts), completion_ids=completions, completion_mask=torch.ones_like(completions),
        advantages=advantages, num_items_in_batch=torch.tensor(completions.numel()),
    )
    began = time.perf_counter()
    grpo.compute_loss(model, inputs).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return PROMPTS * SAMPLES * (PROMPT + COMPLETION - 1) / (time.perf_counter() - began)


def temper(binary, config):
    words = [binary, "bench", "--config", config, "--device", "cpu", "--threads", "1", "--prompts", PROMPTS, "--samples", SAMPLES, "--prompt-tokens", PROMPT,
             "--completion-tokens", COMPLETION]
    text = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=True).stdout
    return [float(re.search(rf"^{what}\s+(\d+)", text, re.M)[1]) for what in ("rollout", "training")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--temper", default=ROOT / "target/release/temper")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, attn_implementation="sdpa"))
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({**model.config.to_dict(), "architectures": ["Qwen3ForCausalLM"]}))
        grpo, optimizer = trainer(model, folder), torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
        grpo.model.train()
        prompts = torch.randint(2, VOCABULARY, (PROMPTS, PROMPT)).repeat_interleave(SAMPLES, 0)
        tokens, _ = sample(model, prompts)
        learn(grpo, model, optimizer, tokens)
        rounds = []
        for _ in range(args.rounds):
            # The best of three on both sides.
            trl = [max(sample(model, prompts)[1] for _ in range(3)), max(learn(grpo, model, optimizer, tokens) for _ in range(3))]
            rounds.append((temper(args.temper, config), trl))
    print("| | Temper, tokens/s | TRL, tokens/s | ratio, by round |\n| --- | --- | --- | --- |")
    for i, what in enumerate(("rollout", "training")):
        ratios = [ours[i] / theirs[i] for ours, theirs in rounds]
        ours, theirs = (statistics.median(side[i] for side in sides) for sides in zip(*rounds))
        print(f"| {what} | {ours:,.0f} | {theirs:,.0f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")


if __name__ == "__main__":
    main()
