#!/usr/bin/env python3
"""Loads the adapters of an export with PEFT beside the base that they were trained on, and compares.

    check_peft.py EXPORT [--base DIR]

EXPORT is `export/` of a run whose exported stage trained low-rank adapters: the merged model, and `adapter/` in PEFT's layout. The base is
where `adapter_config.json` says that it lies, unless --base says otherwise. Two things are held equal:

* the logits of base + adapter, by PEFT, and of the merged export, by transformers, on seeded tokens;
* PEFT's own merge of the two (`merge_and_unload`) and the weights of the export, matrix by matrix.

transformers does not know Temper's indexer of grouped-query models and reads the dense model; DeepSeek-V3.2's it knows.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import transformers
from peft import PeftModel

LOGITS_TOLERANCE = 1e-4  # relative to the largest logit: two f32 forwards that add in another order
WEIGHT_TOLERANCE = 1e-6  # relative to the largest weight of a matrix: one f32 product of rank r


def load(path):
    # By the class that the config names: not every one is behind an Auto class.
    kind = getattr(transformers, json.loads((Path(path) / "config.json").read_text())["architectures"][0])
    return kind.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--base", type=Path)
    args = parser.parse_args()
    adapter = args.export / "adapter"
    base = args.base or json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    merged, adapted = load(args.export), PeftModel.from_pretrained(load(base), adapter).eval()

    learned = [name for name, p in adapted.named_parameters() if "lora_" in name]
    moved = [name for name, p in adapted.named_parameters() if "lora_B" in name and p.abs().max() > 0]
    if not moved:
        sys.exit(f"no lora_B of {len(learned)} adapter tensors differs from zero: nothing is compared")
    tokens = torch.randint(0, merged.config.vocab_size, (2, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = merged(tokens).logits, adapted(tokens).logits
    error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    with adapted.disable_adapter(), torch.no_grad():
        without = adapted(tokens).logits
    effect = ((theirs - without).abs().max() / theirs.abs().max()).item()
    print(f"{len(moved)} matrices adapted; logits differ by {error:.2e} of the largest; without the adapters by {effect:.2e}")
    if not error < min(LOGITS_TOLERANCE, effect / 10):
        sys.exit("the logits of base + adapter are not those of the merged export")

    own = merged.state_dict()
    worst = ("", 0.0)
    for name, weight in adapted.merge_and_unload().state_dict().items():
        size = weight.abs().max().clamp_min(1e-30)
        worst = max(worst, (name, ((weight - own[name]).abs().max() / size).item()), key=lambda entry: entry[1])
    print(f"merged by PEFT, weights differ by at most {worst[1]:.2e} of a matrix's largest {worst[0]}")
    if worst[1] > WEIGHT_TOLERANCE:
        sys.exit("PEFT merges to other weights")


if __name__ == "__main__":
    main()
