"""Write the checkpoints that Temper's model is held against, made by transformers and not by Temper.

policy/tests/fixtures/{deepseek_v3,deepseek_v32,deepseek_v32_yarn}/: random weights, and what transformers computes with
them. tests/fixtures/hf_tiny_v32/: a checkpoint with tokenizer for `temper run`.

Random numbers come from numpy's PCG64 with fixed seeds and one thread does all arithmetic, so a second run writes the
same weights. Seeds are searched in order until no selection and no greedy token hangs on a rounding error: the integers
of a fixture may then be compared exactly, whatever order another implementation adds in.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, DeepseekV32Config, DeepseekV32ForCausalLM

from tiny_tokenizer import END, PAD, check_tokenizer, make_tokenizer

SEQUENCES, LENGTH, NEW_TOKENS = 2, 24, 64
# f32's error in these scores and logits is about 1e-6, whatever the order of their sums.
# Least gap between the last selected and the first rejected score, and between the best two logits.
SELECTION_MARGIN, GREEDY_MARGIN = 3e-5, 5e-3

SHAPE = dict(
    vocab_size=97,
    hidden_size=64,
    intermediate_size=56,
    num_hidden_layers=2,
    first_k_dense_replace=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    q_lora_rank=32,
    kv_lora_rank=32,
    qk_nope_head_dim=16,
    qk_rope_head_dim=16,
    v_head_dim=16,
    max_position_embeddings=256,
)
# Of eight heads some one nearly always hits: with few, scores of exactly zero tie for the last place.
INDEXER = dict(index_topk=8, index_n_heads=8, index_head_dim=32)
# The form of the released DeepSeek-V3.2 configuration: `rope_theta` and `rope_scaling` at the top level.
YARN = dict(
    max_position_embeddings=163840,
    rope_theta=10000.0,
    rope_scaling=dict(
        type="yarn",
        factor=40,
        original_max_position_embeddings=4096,
        beta_fast=32,
        beta_slow=1,
        mscale=1.0,
        mscale_all_dim=1.0,
    ),
)


class RecordTopk(TorchFunctionMode):
    """Keeps the scores and the indices of every `Tensor.topk`; in a dense-FFN model only the indexer calls it."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.Tensor.topk:
            self.calls.append((args[0].clone(), result.indices.clone()))
        return result


def fill(model, seed, gain=1.0, random_norms=True):
    """Draw every parameter, in the order of its name, so that attention and selection are far from uniform."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.from_numpy(rng.standard_normal(tuple(parameter.shape)).astype(np.float32))
        if name.endswith("norm.bias"):
            value = 0.3 * noise if random_norms else torch.zeros_like(noise)
        elif "norm" in name:
            value = 1.0 + 0.25 * noise if random_norms else torch.ones_like(noise)
        elif "embed_tokens" in name:
            value = noise
        else:
            value = noise * (gain / parameter.shape[1] ** 0.5)
        with torch.no_grad():
            parameter.copy_(value)


def build(config_class, model_class, seed, gain=1.5, random_norms=True, **settings):
    config = config_class(**settings)
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    fill(model, seed, gain, random_norms)
    return model


def causal(scores):
    """Scores with the positions after the query at -inf (transformers marks them with the least float32)."""
    return scores.masked_fill(scores <= torch.finfo(torch.float32).min / 2, float("-inf"))


def selection_margin(scores, topk):
    """Least gap at the threshold over the rows that really choose; `scores` [.., keys] with -inf where masked."""
    ordered = causal(scores).sort(dim=-1, descending=True).values
    if ordered.shape[-1] <= topk:
        return float("inf")
    gap = ordered[..., topk - 1] - ordered[..., topk]
    return gap[torch.isfinite(ordered[..., topk])].min().item()


def selected(scores, indices):
    """The indices that the causal mask leaves, ascending, then -1."""
    valid = torch.isfinite(causal(scores).gather(-1, indices))
    last = scores.shape[-1]
    ascending = torch.where(valid, indices, last).sort(dim=-1).values
    return torch.where(ascending == last, -1, ascending).to(torch.int32)


@torch.no_grad()
def greedy(model, input_ids, topk):
    """Greedy tokens with transformers' cache, and the least margins met on the way; `None` as soon as one is too thin."""
    cache, step, tokens, choice, selection = None, input_ids, [], float("inf"), float("inf")
    for _ in range(NEW_TOKENS):
        with RecordTopk() as record:
            out = model(step, past_key_values=cache, use_cache=True)
        selection = min([selection] + [selection_margin(scores, topk) for scores, _ in record.calls])
        cache, best = out.past_key_values, out.logits[:, -1].topk(2, dim=-1)
        choice = min(choice, (best.values[:, 0] - best.values[:, 1]).min().item())
        if choice < GREEDY_MARGIN or (topk is not None and selection < SELECTION_MARGIN):
            return None
        step = best.indices[:, :1]
        tokens.append(step)
    return torch.cat(tokens, dim=1), choice, selection


@torch.no_grad()
def expect(model, input_ids):
    """What transformers computes, and the margins with which it chose; `None` where a margin is too thin."""
    topk = getattr(model.config, "index_topk", None)
    with RecordTopk() as record:
        expected = {"input_ids": input_ids, "logits": model(input_ids, use_cache=False).logits}
    found = greedy(model, input_ids, topk)
    if found is None:
        return None
    expected["greedy"], choice, selection = found
    if topk is not None:
        scores = torch.stack([scores for scores, _ in record.calls])
        expected["index_scores"] = causal(scores)
        expected["selected"] = torch.stack([selected(*call) for call in record.calls])
        selection = min(selection, selection_margin(scores, topk))
        expected["logits_dense"] = dense_logits(model, input_ids)
    if topk is not None and selection < SELECTION_MARGIN:
        return None
    print(f"  least margin: greedy {choice:.3g}, selection {selection:.3g}")
    return expected


def dense_logits(model, input_ids):
    """The same weights where the indexer selects every key: attention is then dense."""
    indexers = [layer.self_attn.indexer for layer in model.model.layers]
    kept = indexers[0].index_topk
    for indexer in indexers:
        indexer.index_topk = input_ids.shape[1]
    logits = model(input_ids, use_cache=False).logits
    for indexer in indexers:
        indexer.index_topk = kept
    return logits


def check_fixture(model, expected):
    """A fixture that a wrong implementation could pass is worth nothing: the traps must show."""
    if "selected" not in expected:
        return
    shift = (expected["logits"] - expected["logits_dense"]).abs()
    topk = model.config.index_topk
    assert shift[:, :topk].max() < 1e-5, "the first k queries see every key, so sparse and dense must agree"
    assert shift[:, topk:].max() > 1e-2, "selection does not change the logits: the fixture is blind to it"
    modeling = transformers.models.deepseek_v32.modeling_deepseek_v32
    half_split, interleaved = modeling.apply_rotary_pos_emb, modeling.apply_rotary_pos_emb_interleave

    def wrong_layout(q, k, cos, sin, unsqueeze_dim=1):
        return interleaved(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)

    modeling.apply_rotary_pos_emb = wrong_layout
    try:
        with torch.no_grad(), RecordTopk() as record:
            model(expected["input_ids"], use_cache=False)
    finally:
        modeling.apply_rotary_pos_emb = half_split
    wrong = torch.stack([selected(*call) for call in record.calls])
    assert (wrong != expected["selected"]).any(), "the indexer's rope layout does not change the selection"


def released_form(config, folder):
    """`config.json` as DeepSeek releases it; transformers must read the same model from it."""
    plain = json.loads((folder / "config.json").read_text())
    for key in ("rope_parameters", "mlp_layer_types", "layer_types", "head_dim", "qk_head_dim", "dtype"):
        plain.pop(key)
    plain.update(YARN, torch_dtype="float32", moe_layer_freq=1, num_nextn_predict_layers=1, ep_size=1)
    read = DeepseekV32Config(**plain)
    for key in ("rope_parameters", "mlp_layer_types", "layer_types", "head_dim", "qk_head_dim"):
        assert getattr(read, key) == getattr(config, key), f"{key} differs between the two forms of config.json"
    assert read.dtype == torch.float32
    (folder / "config.released_form.json").write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")


def save_model(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def make_fixture(folder, config_class, model_class, first_seed, **settings):
    """Search seeds from `first_seed` (where the committed fixture was found) for margins wide enough, check, write."""
    print(folder)
    for seed in range(first_seed, first_seed + 10_000):
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        ids = torch.from_numpy(rng.integers(2, SHAPE["vocab_size"], (SEQUENCES, LENGTH)))
        model = build(config_class, model_class, seed, **settings)
        expected = expect(model, ids)
        if expected is not None:
            break
    else:
        raise SystemExit("no seed keeps the margins: lower them or change the gain")
    print(f"  seed {seed}")
    check_fixture(model, expected)
    save_model(model, folder)
    # The saved file, read again, must give the same bits.
    again = model_class.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        assert torch.equal(again(ids, use_cache=False).logits, expected["logits"])
    save_file({name: value.contiguous() for name, value in expected.items()}, folder / "expected.safetensors")
    if "rope_scaling" in settings:
        released_form(model.config, folder)


def make_tiny(folder):
    """About 100 K parameters with a tokenizer: what `temper run` starts from when Temper made nothing of it."""
    print(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    settings = dict(SHAPE, hidden_size=48, intermediate_size=96, vocab_size=len(tokenizer), qk_rope_head_dim=16)
    settings |= dict(INDEXER, index_topk=16, index_n_heads=4)
    ids = {"pad_token_id": tokenizer.convert_tokens_to_ids(PAD), "eos_token_id": tokenizer.convert_tokens_to_ids(END)}
    model = build(
        DeepseekV32Config,
        DeepseekV32ForCausalLM,
        seed=2026,
        gain=0.7,
        random_norms=False,
        bos_token_id=None,
        **ids,
        **settings,
    )
    print(f"  {sum(p.numel() for p in model.parameters())} parameters, {len(tokenizer)} tokens")
    save_model(model, folder)
    # The template inside tokenizer_config.json, where most published checkpoints have it.
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    check_tokenizer(folder)


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root, help="root of the repository to write into")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    fixtures = out / "policy/tests/fixtures"
    v3, v32 = (DeepseekV3Config, DeepseekV3ForCausalLM), (DeepseekV32Config, DeepseekV32ForCausalLM)
    make_fixture(fixtures / "deepseek_v3", *v3, first_seed=3, **SHAPE)
    make_fixture(fixtures / "deepseek_v32", *v32, first_seed=0, **SHAPE, **INDEXER)
    make_fixture(fixtures / "deepseek_v32_yarn", *v32, first_seed=0, **(SHAPE | INDEXER | YARN))
    make_tiny(out / "tests/fixtures/hf_tiny_v32")


if __name__ == "__main__":
    # Loading one file must not start tokenizer threads or look at the network.
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
    main()
