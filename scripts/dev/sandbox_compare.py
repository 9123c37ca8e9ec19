"""Holds the code verifier beside verl's prime_code and EvalPlus: reward hacks, honest programs, and programs a second.

    cargo build --release -p verifiers --example sandbox_bench
    python3 scripts/dev/sandbox_compare.py [--work DIR] [--n 60]

Installs the two from PyPI, without their dependencies beyond numpy, into a virtual environment of its own, and imports only their graders.
SandboxFusion's server is not on PyPI (its client is); give `--fusion URL` where one runs, and its `run_code` is tried too.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

INPUTS = [[1, 2], [0, 0], [-5, 3], [10, 20], [7, 8], [100, -1]]
OUTPUTS = [a + b for a, b in INPUTS]
HONEST = "def add(a, b):\n    return a + b"
WALK = """import sys
def add(a, b):
    frame, want = sys._getframe(), None
    while frame:
        for name in ("expected", "in_outs", "exp", "gt_ans"):
            held = frame.f_locals.get(name)
            if isinstance(held, dict):
                held = held.get("outputs")
            if held is not None and want is None:
                want = held
        frame = frame.f_back
    if not isinstance(want, (list, tuple)):
        return want
    inputs = %r
    return want[inputs.index([a, b])]
""" % (INPUTS,)
PROGRAMS = {
    "honest": (HONEST, True),
    "wrong": ("def add(a, b):\n    return a - b", False),
    "raises": ("def add(a, b):\n    return 1 / 0", False),
    "sys.exit(0)": ("import sys\nsys.exit(0)", False),
    "os._exit(0) inside": ("import os\ndef add(a, b):\n    os._exit(0)", False),
    "__eq__ is True": ("class Any:\n    def __eq__(self, other): return True\ndef add(a, b):\n    return Any()", False),
    "mock.ANY": ("from unittest import mock\ndef add(a, b):\n    return mock.ANY", False),
    "frame walk": (WALK, False),
    "shared result": (
        "import sys, os\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n        held = frame.f_locals\n        if 'details' in held and 'stat' in held:\n            held['stat'].value = 0\n            for i in range(len(held['details'])): held['details'][i] = True\n            held.get('progress') and setattr(held['progress'], 'value', len(held['details']))\n            os._exit(0)\n        frame = frame.f_back\n    return 0",
        False,
    ),
    "endless": ("def add(a, b):\n    while True: pass", False),
}

# Each driver reads a program a line as JSON and answers with one word a line: true, false, or an error.
VERL = """
import importlib.util, json, sys, types, contextlib, io, os
base = os.path.join(sys.argv[1], "verl/utils/reward_score/prime_code")
sys.modules["prime_code"] = package = types.ModuleType("prime_code")
package.__path__ = [base]
def load(name):
    spec = importlib.util.spec_from_file_location("prime_code." + name, os.path.join(base, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["prime_code." + name] = module
    spec.loader.exec_module(module)
    return module
utils = load("testing_util") and load("utils")
tests = json.loads(sys.argv[2])
for line in sys.stdin:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            results, _ = utils.check_correctness(tests, json.loads(line), timeout=2, debug=False)
        word = all(r is True or r == 1 and r is not -1 for r in results) and len(results) == len(tests["inputs"])
        print(json.dumps(bool(word)), flush=True)
    except BaseException as e:
        print(json.dumps(type(e).__name__ + ": " + str(e)[:80]), flush=True)
"""
EVALPLUS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from evalplus.eval import untrusted_check
tests = json.loads(sys.argv[2])
for line in sys.stdin:
    try:
        stat, details = untrusted_check("humaneval", json.loads(line), tests["inputs"], "add", tests["outputs"], 0, [0.05] * len(tests["inputs"]))
        print(json.dumps(stat == "pass"), flush=True)
    except BaseException as e:
        print(json.dumps(type(e).__name__ + ": " + str(e)[:80]), flush=True)
"""


def install(work):
    python = work / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    found = []
    for name in ("verl", "evalplus"):
        target = work / name
        if not target.exists():
            subprocess.run([*pip, "--no-deps", "--target", target, name], check=False)
        if target.exists():
            found.append(name)
    # What the two graders import, each only a little of it.
    subprocess.run([*pip, "numpy", "psutil", "tqdm", "termcolor", "rich", "appdirs", "wget", "tempdir", "multipledispatch"], check=False)
    return python, found


def words(command, programs):
    lines = "".join(json.dumps(code) + "\n" for code in programs)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=3600)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    if len(answers) < len(programs):
        tail = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        answers += [tail[:80]] * (len(programs) - len(answers))
    return answers


def ours(bench, programs):
    tests = {"inputs": INPUTS, "outputs": OUTPUTS, "fn_name": "add"}
    items = (
        {"id": str(i), "completion": f"```python\n{code}\n```", "ground_truth": json.dumps(tests)} for i, code in enumerate(programs)
    )
    done = subprocess.run(
        [bench, "verify"], input="".join(json.dumps(i) + "\n" for i in items), capture_output=True, text=True, check=True
    )
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    return [v["status"] == "pass" if v["status"] != "error" else v["reason"] for v in verdicts]


def fusion(url, programs):
    harness = "\nimport json\nassert [add(*x) for x in %r] == %r\n" % (INPUTS, OUTPUTS)
    out = []
    for code in programs:
        body = json.dumps({"code": code + harness, "language": "python", "run_timeout": 2}).encode()
        request = urllib.request.Request(url.rstrip("/") + "/run_code", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            out.append(json.load(answer)["status"] == "Success")
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("/tmp/sandbox-compare"))
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--bench", type=Path, default=ROOT / "target/release/examples/sandbox_bench")
    parser.add_argument("--fusion")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    python, found = install(args.work)
    tests = {
        "evalplus": {"inputs": INPUTS, "outputs": OUTPUTS, "fn_name": "add"},
        # prime_code wants one JSON value a line.
        "verl": {"inputs": [f"{a}\n{b}" for a, b in INPUTS], "outputs": [str(o) for o in OUTPUTS], "fn_name": "add"},
    }
    graders = {"temper": lambda programs: ours(args.bench, programs)}
    for name, driver in (("verl", VERL), ("evalplus", EVALPLUS)):
        if name in found:
            graders[name] = lambda programs, n=name, d=driver: words([python, "-c", d, args.work / n, json.dumps(tests[n])], programs)
    if args.fusion:
        graders["fusion"] = lambda programs: fusion(args.fusion, programs)
    codes = [code for code, _ in PROGRAMS.values()]
    table, rate = {}, {}
    for name, grade in graders.items():
        table[name] = grade(codes)
        honest = [f"{HONEST}\n# {i}" for i in range(args.n)]
        start = time.monotonic()
        passed = grade(honest)
        rate[name] = f"{args.n / (time.monotonic() - start):.0f}/s" if all(p is True for p in passed) else f"n/a: {passed[0]}"
    print("| program | should pass | " + " | ".join(graders) + " |")
    print("| --- | --- |" + " --- |" * len(graders))
    for i, (name, (_, right)) in enumerate(PROGRAMS.items()):
        cells = [("pass" if t[i] is True else "fail" if t[i] is False else str(t[i])) for t in table.values()]
        marks = [c if (c == "pass") == right else f"**{c}**" for c in cells]
        print(f"| {name} | {'yes' if right else 'no'} | " + " | ".join(marks) + " |")
    print("| honest programs, start-up included | | " + " | ".join(rate.values()) + " |")


if __name__ == "__main__":
    main()
