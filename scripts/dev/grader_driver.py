"""One grader of another project behind a line protocol: compare_verifiers.py starts it, in a virtual environment that has the project.

    python grader_driver.py NAME PACKAGES

A line in is {"gold", "prediction", "settings"} or {"code", "tests"} (tests as verl has them), a line out true, false, or a string that says
what went wrong. What a grader prints goes nowhere. Of verl only the modules of the graders are imported, without its trainer.
"""

import contextlib
import io
import json
import os
import re
import resource
import sys
import types

# A grader that runs away takes its own process down, not the machine.
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))


def verl():
    """Makes `verl.utils.reward_score.*` importable without `verl/__init__.py`, which wants Ray and PyTorch."""
    for name in ("verl", "verl.utils", "verl.utils.reward_score"):
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(sys.argv[2], *name.split("."))]
        sys.modules[name] = package
    metric = types.ModuleType("verl.utils.metric")
    metric.Metric = object
    sys.modules["verl.utils.metric"] = metric


def boxed(prediction):
    """verl's graders read a box; a bare answer of the suite is put into one."""
    return prediction if "\\boxed" in prediction else "\\boxed{" + bare(prediction) + "}"


def bare(text):
    """Without the dollars and the box that verl's ground truth does not have."""
    text = text.strip()
    found = re.fullmatch(r"\$+(.*?)\$+", text, re.S)
    text = found.group(1) if found and "$" not in found.group(1) else text
    found = re.fullmatch(r"\\boxed\{(.*)\}", text, re.S)
    return found.group(1) if found else text


def math_verify():
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    def grade(item):
        s = item["settings"]
        kinds = {
            "latex": LatexExtractionConfig(boxed_match_priority=s.get("boxed_match_priority", 50)),
            "expr": ExprExtractionConfig(),
        }
        targets = [kinds[t] for t in s.get("targets", ["latex", "expr"])]
        names = ("float_rounding", "strict", "allow_set_relation_comp")
        return bool(verify(parse(item["gold"], targets), parse(item["prediction"], targets), **{n: s[n] for n in names if n in s}))

    return grade


def math_reward():
    verl()
    from verl.utils.reward_score import math_reward as grader

    return lambda item: grader.compute_score(boxed(item["prediction"]), bare(item["gold"])) == 1.0


def math_dapo():
    verl()
    from verl.utils.reward_score import math_dapo as grader

    return lambda item: bool(grader.compute_score("Answer: " + bare(item["prediction"]), bare(item["gold"]))["acc"])


def prime_math():
    verl()
    from verl.utils.reward_score import prime_math as grader

    return lambda item: bool(grader.compute_score(boxed(item["prediction"]), bare(item["gold"]))[0])


def prime_code():
    verl()
    from verl.utils.reward_score import prime_code as grader

    # As verl's default_compute_score calls it; the score is true, or the share of tests that passed.
    return lambda item: float(grader.compute_score(f"```python\n{item['code']}\n```", json.dumps(item["tests"]), continuous=True)[0]) == 1.0


def sandbox_fusion():
    """verl's client of SandboxFusion, asking whoever answers at FUSION_URL."""
    verl()
    from verl.utils.reward_score import sandbox_fusion as grader

    url = os.environ["FUSION_URL"].rstrip("/") + "/run_code"
    return lambda item: grader.compute_score(url, None, 1024, f"```python\n{item['code']}\n```", item["tests"], timeout=5)[0] == 1.0


def evalplus():
    sys.path.insert(0, sys.argv[2])
    from evalplus.eval import untrusted_check

    def grade(item):
        tests = item["tests"]
        if "fn_name" not in tests:
            return "functions only"
        inputs = [[json.loads(line) for line in text.split("\n")] for text in tests["inputs"]]
        outputs = [json.loads(text) for text in tests["outputs"]]
        stat, _ = untrusted_check("humaneval", item["code"], inputs, tests["fn_name"], outputs, 0, [0.05] * len(inputs))
        return stat == "pass"

    return grade


def main():
    graders = {f.__name__: f for f in (math_verify, math_reward, math_dapo, prime_math, prime_code, sandbox_fusion, evalplus)}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            grade = graders[sys.argv[1]]()
        except Exception as error:
            print(json.dumps(f"cannot be loaded: {error}"), file=answers, flush=True)
            return
        print("true", file=answers, flush=True)
        for line in sys.stdin:
            try:
                word = grade(json.loads(line))
            except BaseException as error:  # graders raise SystemExit too
                word = f"{type(error).__name__}: {str(error)[:80]}"
            print(json.dumps(word), file=answers, flush=True)


if __name__ == "__main__":
    main()
