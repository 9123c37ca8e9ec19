"""The indexer in reinforcement learning, frozen against live against live with replay: one table over several seeds.

    cargo build --release
    python3 scripts/dev/ablation.py [--seeds 1,2,3] [--out runs/ablation] [--threads N] [--device cuda] [--steps N] [--temper target/release/temper]

Runs configs/ablation.toml once a seed, all seeds at once, and reads their metrics.jsonl and summary.json. A cell is the mean over seeds with the
smallest and the largest value. Needs only the standard library.
"""

import argparse
import json
import subprocess
from pathlib import Path

ARMS = ["frozen", "live", "replay"]
LATE = 10


def run(temper, seed, out, machine, sets, look_only):
    """Starts one seed's run; a finished one is kept."""
    folder = out / f"seed-{seed}"
    if (folder / "summary.json").exists() or look_only:
        return folder, None
    verb = ["resume", str(folder)] if (folder / "resolved.toml").exists() else ["run", "configs/ablation.toml", "--set", f"run.out={out}", "--name", folder.name,
            "--set", f"run.seed={seed}", *[w for s in sets for w in ("--set", s)]]
    log = open(out / f"{folder.name}.log", "ab")
    return folder, subprocess.Popen([temper, *verb, *machine], stdout=log, stderr=log)


def steps(folder, stage, most):
    lines = [json.loads(line) for line in open(folder / "metrics.jsonl")]
    return [line for line in lines if line["stage"] == stage and "critic/score/mean" in line][:most]


def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else float("nan")


def arm(folder, stage, most):
    """The numbers of one arm of one run."""
    rows = steps(folder, stage, most)
    late = rows[-LATE:]
    column = lambda rows, name: [row.get(name) for row in rows]
    found = {
        "score, first 10 steps": mean(column(rows[:LATE], "critic/score/mean")),
        "score, last 10 steps": mean(column(late, "critic/score/mean")),
        "indexer KL, step 1 (nats)": rows[0].get("indexer/measured_kl", float("nan")),
        "indexer KL, last 10 (nats)": mean(column(late, "indexer/measured_kl")),
        "selection overlap, mean": mean(column(rows, "indexer/selection_overlap")),
        "selection overlap, worst step and layer": min(v for v in column(rows, "indexer/selection_overlap_min") if v is not None),
        "\\|KL(old, new)\\|, mean": mean([abs(v) for v in column(rows, "actor/ppo_kl") if v is not None]),
        "share of tokens clipped": mean([(a or 0) + (b or 0) for a, b in zip(column(rows, "actor/pg_clipfrac"), column(rows, "actor/pg_clipfrac_lower"))]),
        "gradient norm, mean": mean(column(rows, "actor/grad_norm")),
        "gradient norm, largest": max(v for v in column(rows, "actor/grad_norm") if v is not None),
    }
    # The held-out scores belong to the last step alone.
    if most is None:
        summary = json.load(open(folder / "summary.json"))
        scores = next(entry["eval"] for entry in summary["stages"] if entry["name"] == stage)
        found.update({f"pass@1, {domain}": score["pass_at_1"] for domain, score in scores.items()})
    return found


def cell(values):
    digits = 3 if max(abs(v) for v in values) < 10 else 1
    show = lambda v: f"{v:.{digits}f}" if abs(v) >= 0.01 or v == 0 else f"{v:.1e}"
    return f"{show(sum(values) / len(values))} ({show(min(values))} to {show(max(values))})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, help="start nothing; look at this many steps of what there is")
    parser.add_argument("--temper", default="target/release/temper")
    parser.add_argument("--set", action="append", default=[], help="as temper's")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    machine = ["--device", args.device, "--threads", str(args.threads)]
    begun = [run(args.temper, seed, args.out, machine, args.set, args.steps is not None) for seed in args.seeds.split(",")]
    for folder, process in begun:
        if process and process.wait() != 0:
            raise SystemExit(f"{folder}: see {folder}.log")
    arms = {name: [arm(folder, name, args.steps) for folder, _ in begun] for name in ARMS}
    print("| | " + " | ".join({"replay": "live+replay"}.get(name, name) for name in ARMS) + " |")
    print("| --- |" + " --- |" * len(ARMS))
    for key in arms["frozen"][0]:
        print(f"| {key} | " + " | ".join(cell([found[key] for found in arms[name]]) for name in ARMS) + " |")


if __name__ == "__main__":
    main()
