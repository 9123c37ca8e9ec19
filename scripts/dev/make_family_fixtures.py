"""Write a small random checkpoint of every other family that Temper reads, and what transformers computes with it.

policy/tests/fixtures/families/NAME/: config.json and the weights as transformers saves them, and expected.safetensors:
`input_ids` [2,24], `logits` [2,24,97], 64 `greedy` tokens [2,64]; where there are experts `experts` [layers,48,k] (those of
every row, ascending); where there is an indexer `selected` [layers,2,24,k] over the input and `selected_last`
[layers,2,64,k], the last row's while the greedy tokens were fed. The inputs of `llama_longrope` have 40 tokens, and `logits_short` are those of
their first 24, which do not pass the original context.

Seeds are searched as in make_hf_fixtures.py, so that no greedy token, expert or selection hangs on a rounding error.
`--check DIR` instead loads checkpoints that Temper wrote from these (DIR/NAME) with transformers and compares logits.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Mistral4ForCausalLM

from make_hf_fixtures import RecordTopk, save_model, selected, selection_margin

SEQUENCES, LENGTH, NEW_TOKENS, VOCABULARY = 2, 24, 64, 97
GREEDY_MARGIN, EXPERT_MARGIN, SELECTION_MARGIN = 5e-3, 1e-4, 3e-5

SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    rms_norm_eps=1e-5,
    bos_token_id=0,
    eos_token_id=1,
)
LATENT = SHAPE | dict(
    num_key_value_heads=4,
    q_lora_rank=16,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=8,
    first_k_dense_replace=1,
    moe_intermediate_size=16,
    n_routed_experts=8,
    n_shared_experts=1,
    num_experts_per_tok=3,
    n_group=4,
    topk_group=2,
    routed_scaling_factor=2.5,
    norm_topk_prob=True,
)
YARN = dict(rope_type="yarn", original_max_position_embeddings=32, beta_fast=32.0, beta_slow=1.0)

FAMILIES = {
    "llama": SHAPE
    | dict(
        attention_bias=True,
        mlp_bias=True,
        rope_parameters=dict(
            rope_type="llama3",
            rope_theta=500000.0,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        ),
    ),
    "mistral": SHAPE
    | dict(
        head_dim=12,
        sliding_window=20,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0),
    ),
    "qwen2": SHAPE
    | dict(
        tie_word_embeddings=True,
        use_sliding_window=True,
        sliding_window=12,
        max_window_layers=1,
        rope_parameters=dict(rope_type="dynamic", rope_theta=1000000.0, factor=2.0),
    ),
    "qwen3": SHAPE
    | dict(
        head_dim=16,
        tie_word_embeddings=True,
        attention_bias=True,
        rope_parameters=YARN | dict(rope_theta=1000000.0, factor=4.0, attention_factor=1.1),
    ),
    "qwen3_moe": SHAPE
    | dict(
        head_dim=16,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[0],
    ),
    "deepseek_v3": LATENT,
    "deepseek_v32": LATENT | dict(index_topk=8, index_n_heads=8, index_head_dim=16),
    # Kimi K2's form: no groups, YARN with both betas 1.
    "kimi_k2": LATENT
    | dict(
        n_group=1,
        topk_group=1,
        routed_scaling_factor=2.827,
        rope_parameters=YARN
        | dict(rope_theta=50000.0, factor=4.0, beta_fast=1.0, mscale=1.0, mscale_all_dim=1.0),
    ),
    # Mistral Large 3 and Small 4: groups under a softmax, a query scale that grows with the position, biases of latent attention.
    "mistral4": LATENT
    | dict(
        attention_bias=True,
        rope_parameters=YARN
        | dict(rope_theta=10000.0, factor=4.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.3),
    ),
}
# A family under a rope scaling that the others do not have, with inputs longer than the original context: the long factors hold.
FAMILIES["llama_longrope"] = SHAPE | dict(
    rope_parameters=dict(
        rope_type="longrope",
        rope_theta=10000.0,
        original_max_position_embeddings=32,
        short_factor=[1.0, 1.1, 1.3, 1.6],
        long_factor=[1.0, 1.7, 3.1, 4.0],
    )
)
TYPES = {"kimi_k2": "deepseek_v3", "llama_longrope": "llama"}
LENGTHS = {"llama_longrope": 40}
# Saved in several files.
SHARDED = {"qwen3_moe": "40KB"}


class RecordRouting:
    """The experts that every router chose and the least margin of a choice; the indexer's recorder is told to look away."""

    def __init__(self, model, topk):
        self.topk, self.experts, self.margin, self.kept = topk, [], float("inf"), 0
        routers = [m for m in model.modules() if type(m).__name__.lower().endswith("topkrouter")]
        self.handles = [r.register_forward_pre_hook(self.before) for r in routers]
        self.handles += [r.register_forward_hook(self.after) for r in routers]

    def before(self, module, args):
        self.kept = len(self.topk.calls)

    def after(self, module, args, output):
        self.judge(module, *output)
        del self.topk.calls[self.kept :]

    def judge(self, module, logits, _, chosen):
        self.experts.append(chosen.sort(dim=-1).values.to(torch.int32))
        bias = getattr(module, "e_score_correction_bias", None)
        scores = logits.softmax(-1) if bias is None else logits.sigmoid() + bias
        groups, kept = getattr(module, "num_group", 1), getattr(module, "topk_group", 1)
        if groups > kept:
            best = scores.view(len(scores), groups, -1).topk(2).values.sum(-1)
            ordered, within = best.sort(descending=True)
            self.margin = min(self.margin, (ordered[:, kept - 1] - ordered[:, kept]).min().item())
            allowed = torch.zeros_like(best, dtype=torch.bool).scatter(1, within[:, :kept], True)
            allowed = allowed.repeat_interleave(scores.shape[1] // groups, dim=1)
            scores = scores.masked_fill(~allowed, float("-inf"))
        ordered = scores.sort(descending=True).values
        k = chosen.shape[1]
        self.margin = min(self.margin, (ordered[:, k - 1] - ordered[:, k]).min().item())

    def close(self):
        for handle in self.handles:
            handle.remove()


@torch.no_grad()
def expect(model, ids):
    """What transformers computes, or `None` where it chose by too thin a margin."""
    index_topk = getattr(model.config, "index_topk", None)
    with RecordTopk() as record:
        routing = RecordRouting(model, record)
        expected = {"input_ids": ids, "logits": model(ids, use_cache=False).logits}
        if routing.experts:
            expected["experts"] = torch.stack(routing.experts)
        calls = list(record.calls)
        record.calls.clear()
        cache, step, tokens, choice = None, ids, [], float("inf")
        selection, lasts = float("inf"), []
        for _ in range(NEW_TOKENS):
            out = model(step, past_key_values=cache, use_cache=True)
            cache, best = out.past_key_values, out.logits[:, -1].topk(2, dim=-1)
            record.calls = [c for c in record.calls if index_topk is not None and c[0].shape[-1] != VOCABULARY]
            choice = min(choice, (best.values[:, 0] - best.values[:, 1]).min().item())
            step = best.indices[:, :1]
            tokens.append(step)
            if index_topk is not None:
                selection = min([selection] + [selection_margin(s, index_topk) for s, _ in record.calls])
                lasts.append(torch.stack([selected(*c)[:, -1] for c in record.calls]))
            record.calls.clear()
        routing.close()
    expected["greedy"] = torch.cat(tokens, dim=1)
    if index_topk is not None:
        selection = min([selection] + [selection_margin(s, index_topk) for s, _ in calls])
        expected["selected"] = torch.stack([selected(*c) for c in calls])
        expected["selected_last"] = torch.stack(lasts, dim=2)
    if choice < GREEDY_MARGIN or routing.margin < EXPERT_MARGIN or selection < SELECTION_MARGIN:
        return None
    print(f"  least margin: greedy {choice:.3g}, experts {routing.margin:.3g}, selection {selection:.3g}")
    return expected


def draw(name, noise):
    """A parameter's value from normal numbers: attention, gates and selections are then far from uniform."""
    if name.endswith("e_score_correction_bias"):
        return 0.2 * noise
    if name.endswith("bias"):
        return 0.3 * noise
    if "norm" in name:
        return 1.0 + 0.25 * noise
    if "embed_tokens" in name:
        return noise
    # The last dimension is summed over, also in experts that lie in one tensor [experts, n, k].
    return noise * (1.5 / noise.shape[-1] ** 0.5)


def class_of(model_type):
    """The class of a family; transformers maps Mistral 4 to images alone."""
    return {"mistral4": Mistral4ForCausalLM}.get(model_type, AutoModelForCausalLM)


def build(name, seed, settings):
    config = AutoConfig.for_model(TYPES.get(name, name), **settings)
    config._attn_implementation = "eager"
    kind = class_of(name)
    model = (kind(config) if name == "mistral4" else kind.from_config(config, attn_implementation="eager")).eval()
    rng = np.random.Generator(np.random.PCG64(seed))
    values = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if n.endswith("correction_bias")}
    for parameter_name, parameter in sorted(values.items()):
        noise = torch.from_numpy(rng.standard_normal(tuple(parameter.shape)).astype(np.float32))
        with torch.no_grad():
            parameter.copy_(draw(parameter_name, noise))
    return model


def make(folder, name, settings, first_seed):
    print(folder)
    for seed in range(first_seed, first_seed + 3000):
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        ids = torch.from_numpy(rng.integers(2, VOCABULARY, (SEQUENCES, LENGTHS.get(name, LENGTH))))
        model = build(name, seed, settings)
        expected = expect(model, ids)
        if expected is not None:
            break
    else:
        raise SystemExit("no seed keeps the margins")
    print(f"  seed {seed}")
    for old in folder.glob("*"):
        old.unlink()
    if name in SHARDED:
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder, max_shard_size=SHARDED[name])
        (folder / "generation_config.json").unlink(missing_ok=True)
    else:
        save_model(model, folder)
    again = class_of(name).from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        assert torch.equal(again(ids, use_cache=False).logits, expected["logits"])
    if name == "llama_longrope":
        with torch.no_grad():
            expected["logits_short"] = again(ids[:, :LENGTH], use_cache=False).logits
    save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")
    if name == "kimi_k2":
        config = json.loads((folder / "config.json").read_text())
        config.update(model_type="kimi_k2", scoring_func="sigmoid", topk_method="noaux_tc", moe_layer_freq=1)
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def quantise(folder, source):
    """`source` with its matrices in FP8 by blocks of 128×128, and the logits of what they stand for."""
    print(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights, quantised, plain = load_file(source / "model.safetensors"), {}, {}
    for name, weight in weights.items():
        if weight.dim() != 2 or "embed" in name or "lm_head" in name or "mlp.gate.weight" in name:
            quantised[name] = plain[name] = weight
            continue
        assert max(weight.shape) <= 128, "one block each: larger ones are tested with their own numbers"
        scale = weight.abs().max() / 448.0
        quantised[name] = (weight / scale).to(torch.float8_e4m3fn)
        quantised[f"{name}_scale_inv"] = scale.reshape(1, 1)
        plain[name] = quantised[name].float() * scale
    config = json.loads((source / "config.json").read_text())
    with tempfile.TemporaryDirectory() as stands_for:
        save_file(plain, Path(stands_for) / "model.safetensors", metadata={"format": "pt"})
        (Path(stands_for) / "config.json").write_text(json.dumps(config))
        model = AutoModelForCausalLM.from_pretrained(stands_for, attn_implementation="eager").eval()
    ids = load_file(source / "expected.safetensors")["input_ids"]
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits
    config["quantization_config"] = {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    save_file(quantised, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"input_ids": ids, "logits": logits}, folder / "expected.safetensors")


def load(folder):
    """A checkpoint that Temper wrote, and which keys did not fit."""
    settings = json.loads((folder / "config.json").read_text())
    config = None
    if settings["model_type"] == "kimi_k2":
        settings["model_type"] = "deepseek_v3"
        config = AutoConfig.for_model(**settings)
    model, report = class_of(settings["model_type"]).from_pretrained(
        folder, config=config, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    # Without a GPU transformers turns FP8 into bf16, whatever it was asked for.
    return model.float().eval(), [sorted(report[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")]


def check(exports, fixtures):
    """Loads what Temper wrote with transformers.

    NAME has the logits of the checkpoint that Temper read, on this processor: another adds in another order. NAME.bf16 has the weights of NAME.bf16.f32, which Temper wrote of what it reads
    in NAME.bf16; NAME.fp8 those of NAME.fp8.f32, to bf16's half step. Loading FP8 needs accelerate."""
    for folder in sorted(exports.iterdir()):
        if folder.name.endswith(".f32"):
            continue
        family, _, form = folder.name.partition(".")
        expected = load_file(fixtures / family / "expected.safetensors")
        model, missing = load(folder)
        if form:
            meant, _ = load(folder.with_name(folder.name + ".f32"))
            pairs = [(value, meant.state_dict()[name]) for name, value in model.state_dict().items()]
            worst = max(((a - b).abs() / b.abs().clamp(min=1e-30)).max().item() for a, b in pairs)
            what = f"{len(pairs)} weights"
        else:
            ids, (own, _) = expected["input_ids"], load(fixtures / family)
            with torch.no_grad():
                worst = (model(ids, use_cache=False).logits - own(ids, use_cache=False).logits).abs().max().item()
            what = "logits"
        print(f"{folder.name:20} {what}: largest difference {worst:.3g}, keys that did not fit: {missing}")
        assert worst <= (2**-8 if form == "fp8" else 0.0) and not any(missing), folder


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root / "policy/tests/fixtures/families")
    parser.add_argument("--check", type=Path, help="check exports instead of writing fixtures")
    parser.add_argument("names", nargs="*", help="only these")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if arguments.check:
        return check(arguments.check, arguments.out)
    for name, settings in FAMILIES.items():
        if not arguments.names or name in arguments.names:
            (arguments.out / name).mkdir(parents=True, exist_ok=True)
            make(arguments.out / name, name, settings, FIRST_SEEDS.get(name, 0))
    if not arguments.names or "deepseek_v3_fp8" in arguments.names:
        quantise(arguments.out / "deepseek_v3_fp8", arguments.out / "deepseek_v3")


# Where the committed fixtures were found.
FIRST_SEEDS = {"llama": 1, "mistral": 1, "qwen2": 3, "qwen3_moe": 3, "deepseek_v3": 4, "deepseek_v32": 4}

if __name__ == "__main__":
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    main()
