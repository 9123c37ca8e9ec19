"""Holds Temper's verifiers beside Math-Verify, verl's graders, EvalPlus and SandboxFusion: one run, the same items, Markdown tables.

    cargo build --release
    python3 scripts/dev/compare_verifiers.py [--work DIR] [--passes 3] [--programs 60] [--limit 60] [--only math|hostile|code]

The others are installed from PyPI into a virtual environment in DIR, verl and EvalPlus without their heavy dependencies: only their graders are
imported. SandboxFusion's server is not on PyPI (its client is); the script looks, and says so. `--fusion URL` names one that runs.

Every grader is asked the same way: a process that answers a line with a line, one item at a time, with --limit seconds for each, the start of
the process not counted. Math is timed by the processor time of the grader's process, reading and writing the line included, so that other work
on the machine counts little; the rest are round trips on the wall clock. Temper is `temper verify` as a user runs it.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from compare_items import HOSTILE, PROBLEMS, cheats

ROOT = Path(__file__).resolve().parents[2]
PAIRS = ROOT / "verifiers/tests/math/math_verify_pairs.jsonl"
DRIVER = Path(__file__).with_name("grader_driver.py")
VERSIONS = {"math-verify": "0.9.0", "verl": "0.9.1", "evalplus": "0.3.1"}
# What the graders import beside themselves.
NEEDS = ["antlr4-python3-runtime==4.13.2", "pylatexenc", "numpy", "requests", "psutil", "tqdm", "termcolor", "rich", "appdirs", "wget",
         "tempdir", "multipledispatch"]


class Grader:
    """A process that answers a line with a line. One that does not answer in time is killed and started anew."""

    def __init__(self, command, encode, decode, greets, limit, env=None):
        self.command, self.encode, self.decode, self.greets, self.limit = command, encode, decode, greets, limit
        self.env, self.process = env, None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [str(word) for word in self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self.env,
            start_new_session=True,
        )
        if self.greets:
            word = json.loads(self.line(self.limit) or '"it ended"')
            if word is not True:
                raise RuntimeError(word)

    def line(self, limit):
        """What it answers; None where it ends or takes too long."""
        until, text = time.monotonic() + limit, b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))
            part = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not part:
                return None
            text += part
        return text

    def cpu(self):
        """Seconds of processor time of all threads of the process."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def ask(self, item):
        """The word for an item (true, false, or what went wrong) and the seconds that it took."""
        begun = time.perf_counter()
        try:
            self.process.stdin.write(self.encode(item) + b"\n")
            self.process.stdin.flush()
            text = self.line(self.limit)
        except BrokenPipeError:
            text = None
        taken = time.perf_counter() - begun
        if text is not None:
            return self.decode(json.loads(text)), taken
        over = taken >= self.limit
        self.end()
        self.start()
        return (f"> {self.limit:.0f} s, killed" if over else "it ended"), taken

    def end(self):
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait()


def dump(item):
    return json.dumps(item).encode()


def temper(args, verifier, make):
    command = [args.temper, "verify", "--verifier", verifier]
    command += ["--set", "mode=math_verify"] if verifier == "math" else ["--set", "workers=1"]
    decode = lambda v: v["status"] == "pass" if v["status"] != "error" else "error: " + v["reason"][:60]
    grader = Grader(command, lambda item: dump(make(item)), decode, False, args.limit)
    grader.ask(HOSTILE["an easy one"] if verifier == "math" else {"code": "pass", "tests": {"inputs": [""], "outputs": [""]}})
    return grader


def math_item(item):
    return {"id": "x", "completion": item["prediction"], "ground_truth": item["gold"], "extra_info": {"math": item["settings"]}}


def code_item(item):
    return {"id": "x", "completion": f"```python\n{item['code']}\n```", "ground_truth": verl_tests_as_values(item["tests"])}


def verl_tests_as_values(tests):
    """prime_code has one JSON value a line, which Temper reads as it is; outputs are values."""
    if "fn_name" not in tests:
        return tests
    inputs = [[json.loads(line) for line in text.split("\n")] for text in tests["inputs"]]
    return {**tests, "inputs": inputs, "outputs": [json.loads(text) for text in tests["outputs"]]}


def install(work):
    """The virtual environment, and a folder of each package."""
    python = work / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, f"math-verify=={VERSIONS['math-verify']}", *NEEDS], check=False)
    for name in ("verl", "evalplus"):
        if not (work / name).exists():
            subprocess.run([*pip, "--no-deps", "--target", work / name, f"{name}=={VERSIONS[name]}"], check=False)
    fusion = work / "fusion"
    if not fusion.exists():
        subprocess.run([*pip, "--no-deps", "--target", fusion, "sandbox-fusion"], check=False)
    server = [p for p in fusion.rglob("*.py") if "run_code" in p.name or p.parent.name == "server"]
    if not server:
        found = ", ".join(p.name for p in fusion.glob("*.dist-info")) or "nothing"
        print(f"SandboxFusion: PyPI has {found}, which holds no server; give --fusion URL to compare with one that runs\n")
    return python


def started(graders):
    """Those that can be loaded; what the others said is printed."""
    ready = {}
    for name, make in graders.items():
        try:
            ready[name] = make()
        except RuntimeError as error:
            print(f"{name}: {error}\n")
    return ready


def driver(args, python, name, folder="", env=None):
    return lambda: Grader([python, DRIVER, name, args.work / folder], dump, lambda word: word, True, args.limit, env)


def math_graders(args, python):
    return started({
        "temper": lambda: temper(args, "math", math_item),
        "Math-Verify 0.9.0": driver(args, python, "math_verify"),
        "verl math_reward": driver(args, python, "math_reward", "verl"),
        "verl math_dapo": driver(args, python, "math_dapo", "verl"),
        "verl prime_math": driver(args, python, "prime_math", "verl"),
    })


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def at(times, share):
    times = sorted(times)
    return f"{times[int((len(times) - 1) * share)] * 1e3:.2f}"


def compare_math(args, python):
    pairs = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    rows = []
    for name, grader in math_graders(args, python).items():
        for pair in pairs[:50]:
            grader.ask(pair)
        words, times = [], []
        for _ in range(args.passes):
            answers = []
            for pair in pairs:
                begun = grader.cpu()
                answers.append(grader.ask(pair)[0])
                times.append(grader.cpu() - begun)
            words = words or answers
        agree = sum((w is True) == p["expected"] for w, p in zip(words, pairs))
        false_pass = sum(w is True and not p["expected"] for w, p in zip(words, pairs))
        false_fail = sum(w is not True and p["expected"] for w, p in zip(words, pairs))
        odd = sum(isinstance(w, str) for w in words)
        rows.append([name, f"{agree} of {len(pairs)}", false_pass, false_fail, odd, f"{len(times) / sum(times):,.0f}", at(times, 0.5),
                     at(times, 0.99), at(times, 1.0)])
        grader.end()
    table(["grader", "agrees with the suite", "passes what the suite fails", "fails what it passes", "errors", "checks a CPU second", "p50 ms", "p99 ms",
           "max ms"], rows)


def compare_hostile(args, python):
    graders, rows = math_graders(args, python), []
    for name, item in HOSTILE.items():
        row = [name]
        for grader in graders.values():
            word, taken = grader.ask(item)
            verdict = {True: "**pass**" if not item["right"] else "pass", False: "**fail**" if item["right"] else "fail"}.get(word, word)
            row.append(f"{verdict}, {taken * 1e3:,.1f} ms" if "killed" not in str(verdict) else f"**{verdict}**")
        rows.append(row)
    table(["input", *graders], rows)
    for grader in graders.values():
        grader.end()


def compare_code(args, python):
    graders = {
        "temper": lambda: temper(args, "code", code_item),
        "verl prime_code": driver(args, python, "prime_code", "verl"),
        "EvalPlus": driver(args, python, "evalplus", "evalplus"),
    }
    service = None
    if args.fusion:
        graders["verl on SandboxFusion"] = driver(args, python, "sandbox_fusion", "verl", {**os.environ, "FUSION_URL": args.fusion})
    else:
        service, url = serve(args)
        graders["verl on `temper sandbox serve`"] = driver(args, python, "sandbox_fusion", "verl", {**os.environ, "FUSION_URL": url})
    graders = started(graders)
    honest = {f"{p['name']}, {kind}": ({"code": p[kind], "tests": p["tests"]}, kind == "honest") for p in PROBLEMS for kind in ("honest", "wrong")}
    cheating = {name: ({"code": code, "tests": PROBLEMS[0]["tests"]}, False) for name, code in cheats().items()}
    score = {name: [0, 0, 0, 0] for name in graders}
    rows = []
    for group, programs in enumerate((honest, cheating)):
        for what, (item, right) in programs.items():
            row = [what, "yes" if right else "no"]
            for name, grader in graders.items():
                word, _ = grader.ask(item)
                if word == "functions only":
                    row.append("not asked")
                    continue
                score[name][2 * group + 1] += 1
                score[name][2 * group] += (word is True) == right
                cell = {True: "pass", False: "fail"}.get(word, word)
                row.append(cell if (word is True) == right else f"**{cell}**")
            rows.append(row)
    table(["program", "should pass", *graders], rows)
    summary = []
    for name, grader in graders.items():
        problem = PROBLEMS[0]
        programs = [{"code": f"{problem['honest']}\n# {i}", "tests": problem["tests"]} for i in range(args.programs)]
        answers = [grader.ask(item) for item in programs]
        rate = len(answers) / sum(taken for _, taken in answers)
        right = "" if all(word is True for word, _ in answers) else ", not all passed"
        verdicts, asked, refused, tried = score[name]
        summary.append([name, f"{verdicts} of {asked}", f"{tried - refused} of {tried}", f"{rate:.0f}{right}"])
        grader.end()
    table(["grader", "right on honest and wrong programs", "cheats paid", "programs/s, six tests each, one at a time"], summary)
    if service:
        service.terminate()
        service.wait()


def serve(args):
    """Temper's own run_code service, for verl's client of SandboxFusion."""
    service = subprocess.Popen([args.temper, "sandbox", "serve", "--address", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    for line in service.stderr:
        if line.startswith("listening on "):
            return service, line.split()[2].rstrip(";")
    raise RuntimeError("temper sandbox serve did not start")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("/tmp/compare-verifiers"))
    parser.add_argument("--temper", type=Path, default=ROOT / "target/release/temper")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--programs", type=int, default=60)
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--only", choices=["math", "hostile", "code"])
    parser.add_argument("--fusion")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    python = install(args.work)
    for name, compare in (("math", compare_math), ("hostile", compare_hostile), ("code", compare_code)):
        if args.only in (None, name):
            compare(args, python)


if __name__ == "__main__":
    main()
