"""Write learner/tests/fixtures/trl_grpo/: whole GRPO steps made by TRL's GRPOTrainer, for Temper's learner to repeat.

Every case is a run of `GRPOTrainer.train()` on the CPU in float32: TRL's own advantages, loss, accumulation, clipping and
AdamW, three optimiser steps over one batch. Four things only are put in from outside, through TRL's hooks: the completions
(`rollout_func`), the rewards (a reward function that looks them up), the old log-probabilities, which TRL would otherwise
recompute with the weights it starts from, and the reference's weights. What TRL then computes is written down as it comes:
advantages, loss, the norm of every parameter's gradient, the shares of clipped tokens, the mean KL.

`policy/` and `reference/` are checkpoints of a tiny sparse model (DeepSeek-V3.2). The dense cases run the same weights,
without the indexer, in transformers' DeepseekV3.

Run in the environment of scripts/dev/README.md with TRL beside it:
`/tmp/venv-hf/bin/pip install trl==1.16.0 && /tmp/venv-hf/bin/python scripts/dev/trl_grpo_fixture.py` (about a minute).
"""

import argparse
import json
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")

import numpy as np
import tokenizers
import torch
import transformers
import trl
from datasets import Dataset
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, DeepseekV32Config, DeepseekV32ForCausalLM
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from make_hf_fixtures import RecordTopk, build, save_model, selection_margin

MINI_STEPS = 3
LONGEST = 12
PAD, END, FIRST_WORD = 0, 1, 2
# Least gap between the last selected and the first rejected key: far above what two orders of addition differ by.
SELECTION_MARGIN = 2e-5
SHAPE = dict(
    vocab_size=24,
    hidden_size=16,
    intermediate_size=20,
    num_hidden_layers=2,
    first_k_dense_replace=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    q_lora_rank=12,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=8,
    max_position_embeddings=64,
    pad_token_id=PAD,
    eos_token_id=END,
    bos_token_id=None,
)
INDEXER = dict(index_topk=4, index_n_heads=8, index_head_dim=16)

# Groups of four samples. A reward of None is one that no verifier could give.
REWARDS = [[1.0, 0.0, 0.5, 0.0], [0.25, 1.0, 1.0, -0.5], [1.0, 1.0, 1.0, 1.0]]
PROMPT_LENGTHS = [3, 6, 4]
COMPLETION_LENGTHS = [[5, 9, 2, 12], [7, 3, 10, 6], [4, 8, 1, 11]]
# Samples that stop with the end token; the others are cut by the limit.
STOPPED = [[True, True, True, False], [True, True, False, True], [True, True, True, True]]
# (group, sample): positions in the completion that a tool wrote.
TOOL = {(0, 1): [2, 3, 4], (1, 2): [5], (2, 3): [0, 7, 8]}
SAMPLER_NOISE, REFERENCE_NOISE = 0.2, 0.12

BASE = dict(
    loss_type="grpo",
    scale_rewards="none",
    beta=0.0,
    use_bias_correction_kl=False,
    epsilon=0.2,
    epsilon_high=0.28,
    delta=None,
    off_policy_mask_threshold=None,
    temperature=1.0,
    mask_truncated_completions=False,
    gradient_accumulation_steps=1,
    max_completion_length=LONGEST,
    learning_rate=1e-3,
    adam_beta1=0.9,
    adam_beta2=0.95,
    # With 1e-8 an element whose gradient is nothing but a rounding error would move by the whole learning rate.
    adam_epsilon=1e-5,
    weight_decay=0.1,
    max_grad_norm=0.0,
)


def cases():
    """Name, model, rewards and what differs from BASE."""
    kls = {"no_kl": {}, "k3": dict(beta=0.05), "unbiased": dict(beta=0.05, use_bias_correction_kl=True)}
    for loss_type in ("grpo", "bnpo", "dapo", "dr_grpo"):
        for kl, settings in kls.items():
            # Without accumulation bnpo is dapo, so once will do.
            for scale in ("none",) if loss_type == "bnpo" else ("none", "group"):
                yield f"{loss_type}/{kl}/scale_{scale}", dict(loss_type=loss_type, scale_rewards=scale, **settings)
    full = dict(beta=0.05, use_bias_correction_kl=True)
    for loss_type in ("grpo", "dapo", "dr_grpo"):
        yield f"{loss_type}/accumulated", dict(loss_type=loss_type, gradient_accumulation_steps=2, **full)
        yield f"{loss_type}/sparse", dict(loss_type=loss_type, sparse=True, **full)
    yield "grpo/narrow_clip", dict(epsilon=0.05, epsilon_high=0.05)
    yield "dapo/two_sided", dict(loss_type="dapo", delta=1.35)
    yield "grpo/off_policy_mask", dict(off_policy_mask_threshold=0.02, **full)
    yield "grpo/temperature", dict(temperature=0.7, **full)
    yield "grpo/clipped_gradient", dict(max_grad_norm=0.1, **full)
    # TRL keeps in its denominators what Temper leaves out: these cases are equal up to a factor.
    unscored = [REWARDS[0], [0.25, None, 1.0, -0.5], REWARDS[2]]
    for loss_type in ("grpo", "bnpo", "dapo", "dr_grpo"):
        yield f"{loss_type}/unscored", dict(loss_type=loss_type, rewards=unscored)
        yield f"{loss_type}/truncated", dict(loss_type=loss_type, mask_truncated_completions=True)


def digits(value):
    return float(f"{float(value):.9g}")


def noisy(model, scale, seed):
    """A copy whose every parameter is off by `scale` times its own deviation (or mean size, for a gain)."""
    copy = type(model)(model.config).eval()
    rng = np.random.Generator(np.random.PCG64(seed))
    state = {}
    for name, value in sorted(model.state_dict().items()):
        noise = torch.from_numpy(rng.standard_normal(tuple(value.shape)).astype(np.float32))
        state[name] = value + scale * value.square().mean().sqrt() * noise
    copy.load_state_dict(state)
    return copy


def dense(sparse):
    """The same weights without the indexer, in transformers' other class."""
    config = DeepseekV3Config(**SHAPE)
    config._attn_implementation = "eager"
    model = DeepseekV3ForCausalLM(config).eval()
    model.load_state_dict({name: value for name, value in sparse.state_dict().items() if ".indexer." not in name})
    return model


@torch.no_grad()
def sample(model):
    """The batch: ids of each sequence, drawn from the sampler, ordinary words but for the end token."""
    rng = np.random.Generator(np.random.PCG64(11))
    batch = []
    for g, (prompt_length, lengths) in enumerate(zip(PROMPT_LENGTHS, COMPLETION_LENGTHS)):
        prompt = rng.integers(FIRST_WORD, SHAPE["vocab_size"], prompt_length).tolist()
        for s, length in enumerate(lengths):
            ids = list(prompt)
            for _ in range(length):
                p = model(torch.tensor([ids]), use_cache=False).logits[0, -1, FIRST_WORD:].double().softmax(-1)
                ids.append(FIRST_WORD + int(np.searchsorted(p.cumsum(-1).numpy(), rng.random())))
            if STOPPED[g][s]:
                ids[-1] = END
            tool = [t in TOOL.get((g, s), []) for t in range(length)]
            batch.append(dict(group=g, prompt=prompt, completion=ids[prompt_length:], tool=tool, stopped=STOPPED[g][s]))
    return batch


@torch.no_grad()
def old_log_probs(model, batch, temperature):
    """What a sampler records: each sequence by itself, 0 for what a tool wrote."""
    rows = []
    for sequence in batch:
        ids = torch.tensor(sequence["prompt"] + sequence["completion"])
        logp = (model(ids[None], use_cache=False).logits[0, :-1] / temperature).log_softmax(-1)
        own = logp.gather(-1, ids[1:, None])[len(sequence["prompt"]) - 1 :, 0]
        rows.append([0.0 if tool else value for value, tool in zip(own.tolist(), sequence["tool"])])
    return rows


def tokenizer():
    words = {"<pad>": PAD, "<end>": END} | {f"w{i}": i for i in range(FIRST_WORD, SHAPE["vocab_size"])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w2"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>")


def trained_names(model):
    """Parameters that a policy's loss reaches, in the order of the fixture's lists: the indexer only selects."""
    return sorted(name for name, _ in model.named_parameters() if ".indexer." not in name)


class Recorder(GRPOTrainer):
    """GRPOTrainer with recorded old log-probabilities, and a note of what it computes."""

    trained: list[str]

    def _generate_and_score_completions(self, inputs):
        prepared = super()._generate_and_score_completions(inputs)
        prepared["old_per_token_logps"] = prepared["sampling_per_token_logps"].clone()
        assert not hasattr(self, "noted"), "one batch a case"
        self.noted = dict(advantages=[digits(a) for a in prepared["advantages"]], mini_steps=[])
        self.loss = 0.0
        return prepared

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.loss += loss.item()
        return loss

    def training_step(self, model, inputs, num_items_in_batch=None):
        returned = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            norms = {
                name: p.grad.double().norm().item() for name, p in model.named_parameters() if p.grad is not None
            }
            total = sum(norm * norm for norm in norms.values()) ** 0.5
            self.noted["mini_steps"].append(
                dict(
                    loss=digits(self.loss),
                    gradient_norm=digits(total),
                    parameters=[digits(norms.pop(name)) for name in self.trained],
                )
            )
            assert not norms, f"gradients of parameters that should have none: {sorted(norms)}"
            self.loss = 0.0
        return returned


def rollout(batch, old):
    def fixed(prompts, trainer):
        assert len(prompts) == len(batch)
        return dict(
            prompt_ids=[s["prompt"] for s in batch],
            completion_ids=[s["completion"] for s in batch],
            logprobs=old,
            env_mask=[[int(not tool) for tool in s["tool"]] for s in batch],
            row=list(range(len(batch))),
        )

    return fixed


def run(models, batch, settings):
    """One `train()`; returns what TRL computed."""
    settings = BASE | settings
    rewards = sum(settings.pop("rewards", REWARDS), [])
    sparse = settings.pop("sparse", False)
    policy, sampler, reference = (model if sparse else dense(model) for model in models)
    old = old_log_probs(sampler, batch, settings["temperature"])
    accumulation = settings["gradient_accumulation_steps"]
    with tempfile.TemporaryDirectory() as folder:
        policy.save_pretrained(folder)
        model = type(policy).from_pretrained(folder, attn_implementation="eager")
        arguments = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=len(batch) // accumulation,
            num_generations=len(COMPLETION_LENGTHS[0]),
            num_iterations=MINI_STEPS,
            max_steps=MINI_STEPS,
            lr_scheduler_type="constant",
            optim="adamw_torch",
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            shuffle_dataset=False,
            dataloader_pin_memory=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=5,
            **settings,
        )
        trainer = Recorder(
            model=model,
            reward_funcs=lambda row, **_: [rewards[r] for r in row],
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": [f"w{g + FIRST_WORD}" for g in range(len(REWARDS))]}),
            processing_class=tokenizer(),
            rollout_func=rollout(batch, old),
        )
        trainer.trained = trained_names(policy)
        if trainer.ref_model is not None:
            trainer.ref_model.load_state_dict(reference.state_dict())
        with RecordTopk() if sparse else nullcontext() as record:
            trainer.train()
    if sparse:
        margin = min(selection_margin(scores, INDEXER["index_topk"]) for scores, _ in record.calls)
        print(f"  least margin of a selection: {margin:.3g}")
        assert margin > SELECTION_MARGIN, "a selection hangs on a rounding error: take another seed"
    return note(trainer, policy, settings, rewards, sparse)


def note(trainer, policy, settings, rewards, sparse):
    noted = trainer.noted
    logs = [entry for entry in trainer.state.log_history if "clip_ratio/low_mean" in entry]
    assert len(logs) == len(noted["mini_steps"]) == MINI_STEPS
    for step, log in zip(noted["mini_steps"], logs):
        step["clip_low"], step["clip_high"] = digits(log["clip_ratio/low_mean"]), digits(log["clip_ratio/high_mean"])
        step["kl"] = digits(log.get("kl", 0.0))
    before, after = policy.state_dict(), trainer.model.state_dict()
    moved = [digits((after[name] - before[name]).double().norm()) for name in trainer.trained]
    return dict(settings=settings, sparse=sparse, rewards=rewards, moved=moved, **trainer.noted)


def recorded(sampler, batch):
    """The old log-probabilities of every model and temperature that a case has."""
    for sparse, temperature in sorted({(c.get("sparse", False), c.get("temperature", 1.0)) for _, c in cases()}):
        rows = old_log_probs(sampler if sparse else dense(sampler), batch, temperature)
        yield dict(sparse=sparse, temperature=temperature, rows=[[digits(x) for x in row] for row in rows])


def write(path, versions, parameters, batch, old, made):
    """One line a sequence and a mini-step, so that a difference can be read."""

    def one(value):
        return json.dumps(value, separators=(",", ":"))

    def case(fields):
        steps = ",\n".join(one(step) for step in fields.pop("mini_steps"))
        return f'{one(fields)[:-1]},"mini_steps":[\n{steps}\n]}}'

    parts = [
        f'"versions":{one(versions)}',
        f'"parameters":{one(parameters)}',
        '"batch":[\n' + ",\n".join(one(sequence) for sequence in batch) + "\n]",
        '"old_log_probs":[\n' + ",\n".join(one(rows) for rows in old) + "\n]",
        '"cases":[\n' + ",\n".join(case(fields) for fields in made) + "\n]",
    ]
    path.write_text("{" + ",\n".join(parts) + "}\n")


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root / "learner/tests/fixtures/trl_grpo", help="folder to write")
    parser.add_argument("--only", default="", help="write only the cases whose name has this in it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    policy = build(DeepseekV32Config, DeepseekV32ForCausalLM, 41, gain=1.2, **SHAPE, **INDEXER)
    sampler, reference = noisy(policy, SAMPLER_NOISE, 46), noisy(policy, REFERENCE_NOISE, 1046)
    batch = sample(dense(sampler))
    made = []
    for name, settings in cases():
        if arguments.only in name:
            print(name)
            made.append(dict(name=name, **run((policy, sampler, reference), batch, settings)))
    save_model(policy, arguments.out / "policy")
    save_model(reference, arguments.out / "reference")
    versions = dict(trl=trl.__version__, transformers=transformers.__version__, torch=torch.__version__)
    old = list(recorded(sampler, batch))
    write(arguments.out / "cases.json", versions, trained_names(policy), batch, old, made)


if __name__ == "__main__":
    main()
