"""Sampling ahead of learning against waiting for every group: one table over several seeds.

    cargo build --release
    python3 scripts/dev/ahead.py [--seeds 1,2,3] [--out runs/ahead] [--threads N] [--device cpu] [--temper target/release/temper]

Runs configs/ahead.toml once a seed, one after another, and reads metrics.jsonl and summary.json. A cell is the mean over seeds with the smallest and
the largest value. Needs only the standard library.
"""

import argparse
import json
import subprocess
from pathlib import Path

ARMS = ["sync", "ahead"]
GROUP = 8


def arm(folder, stage):
    rows = [json.loads(line) for line in open(folder / "metrics.jsonl")]
    rows = [row for row in rows if row["stage"] == stage and "critic/score/mean" in row]
    time = sum(row["timing_s/step"] for row in rows)
    tokens = {n: sum(row.get(f"training/staleness_tokens/{n}", 0.0) for row in rows) for n in range(3)}
    total = sum(tokens.values())
    summary = json.load(open(folder / "summary.json"))
    score = next(entry["eval"]["math"]["pass_at_1"] for entry in summary["stages"] if entry["name"] == stage)
    # A step learns from 32 prompts; groups without a signal are sampled too, and not counted.
    found = {"samples learned from, a second": 32 * GROUP * len(rows) / time, "seconds a step": time / len(rows)}
    for n in range(3):
        found[f"tokens {n} versions old"] = (tokens[n] / total if total else float(n == 0))
    found["score, last 5 steps"] = sum(row["critic/score/mean"] for row in rows[-5:]) / 5
    found["pass@1 after 20 steps (n = 400)"] = score
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--out", type=Path, default=Path("runs/ahead"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--temper", default="target/release/temper")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    folders = []
    for seed in args.seeds.split(","):
        folders.append(args.out / f"seed-{seed}")
        words = [args.temper, "run", "configs/ahead.toml", "--device", args.device, "--threads", args.threads, "--name", folders[-1].name,
                 "--set", f"run.out={args.out}", "--set", f"run.seed={seed}"]
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    arms = {name: [arm(folder, name) for folder in folders] for name in ARMS}
    print("| | waiting | ahead |\n| --- | --- | --- |")
    for key in arms["sync"][0]:
        cell = lambda values: f"{sum(values) / len(values):.3g} ({min(values):.3g} to {max(values):.3g})"
        print(f"| {key} | " + " | ".join(cell([found[key] for found in arms[name]]) for name in ARMS) + " |")


if __name__ == "__main__":
    main()
