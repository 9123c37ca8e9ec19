"""Writes what the fuzz targets start from into corpus/TARGET: the pairs of the tests, and messages of every kind.

    cd verifiers/fuzz && python3 seeds.py && cargo +nightly fuzz run math -- -max_len=4096 -max_total_time=3600
"""

import json
from pathlib import Path

HERE = Path(__file__).parent


def write(target, texts):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for n, text in enumerate(texts):
        (folder / f"seed-{n:04}").write_text(text)


def pairs():
    for name in ["own_pairs.jsonl", "adversarial_pairs.jsonl", "math_verify_pairs.jsonl"]:
        for line in (HERE / "../tests/math" / name).read_text().splitlines():
            pair = json.loads(line)
            yield f"{pair['gold']}\n{pair['prediction']}"
    for hedge in ["The answer is $72$, or maybe $71$.", "\\boxed{72}, or maybe 71", "72 (71 is also possible)", "#### 71\n#### 72"]:
        yield f"72\n{hedge}"


def plugin():
    yield json.dumps({"v": 1, "name": "mine", "max_inflight": 4, "max_batch": 16})
    yield json.dumps({"id": 1, "results": [{"sample_id": "a", "reward": 0.5, "metrics": {"x": 1.0}, "tags": {"y": "z"}}]})
    yield json.dumps({"id": 1, "results": [{"sample_id": "a", "reward": None, "error": {"type": "timeout", "message": "late"}}]})
    yield json.dumps({"id": 2, "error": "no"})
    yield json.dumps({"id": 1, "error": {"kind": "crash", "message": "KeyError: 'a'"}})
    yield json.dumps({"sample_id": "a", "completion": "b", "ground_truth": "c", "prompt": "d", "extra_info": {"e": [1, 2.5, None]}})


def run_code():
    yield json.dumps({"code": "print(input())", "language": "python", "stdin": "4", "run_timeout": 0.1})
    yield json.dumps({"code": "int main() {}", "language": "cpp", "compile_timeout": 1, "files": {"a/b": "AA=="}, "fetch_files": ["c"]})
    yield json.dumps({"code": "print(1)", "language": "python", "stdins": ["", "1"], "memory_limit_MB": 64})
    yield json.dumps({"inputs": [[1, 2], ["a"]], "outputs": [3, "b"], "fn_name": "f"})
    yield json.dumps({"inputs": ["1 2\n"], "outputs": ["3\n"]})
    yield json.dumps({"asserts": ["assert f(1) == 2", "assert not f(x=[1]) == {'a': (1, 2.5, None)}"]})
    yield "{'a': [1, 2.5, (None, True), b'x', 1e300, -0.0, {1, 2}]}"


write("math", pairs())
write("plugin", plugin())
write("run_code", run_code())
