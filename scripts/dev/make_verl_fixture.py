"""Write data/tests/fixtures/verl_{math,code}.parquet with pandas, in the columns that verl's trainers read.

`verl_math.parquet` has the columns of verl's GSM8K preprocessing, `verl_code.parquet` those of its `prime_code` reward:
there `ground_truth` is JSON text `{"inputs", "outputs"}` for programs that read standard input, with a third key
`fn_name` for functions, whose inputs are then JSON values one a line and whose outputs are JSON values. The questions
and tests are our own.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

MATH = [
    ("Tom has 12 apples and buys 9 more. How many apples has he?", "21"),
    ("A box holds 6 eggs. How many eggs are in 7 boxes?", "42"),
    ("What is 1000 - 7 * 58?", "594"),
    ("Anna shares 45 sweets equally among 9 children. How many does each child get?", "5"),
    ("The temperature is 4 degrees and falls by 11. What is it then?", "-7"),
    ("A train runs 80 km an hour. How far does it run in 2.5 hours, in km?", "200"),
    ("What is (13 + 8) * 4 - 9?", "75"),
    ("A book costs 3 dollars and a pen half as much. What do a book and a pen cost together, in dollars?", "4.5"),
]
MATH_ASK = "Let's think step by step and put the final answer within \\boxed{}."

CODE_SYSTEM = "Write a Python program. Put it in one ```python block at the end of the answer."
CODE = [
    ("codecontests", "Read two integers on one line and print their sum.", None,
     [("1 2\n", "3\n"), ("-5 5\n", "0\n"), ("1000000 1\n", "1000001\n")]),
    ("taco", "Read n, then n integers on the next line. Print the largest.", None,
     [("3\n1 9 4\n", "9\n"), ("1\n-2\n", "-2\n"), ("5\n7 7 7 7 7\n", "7\n")]),
    ("apps", "Write a function `add_all(values)` that returns the sum of a list of integers.", "add_all",
     [([[1, 2, 3]], 6), ([[]], 0), ([[-4, 4, 10]], 10)]),
    ("apps", "Write a function `repeat(text, times)` that returns `text` repeated `times` times.", "repeat",
     [(["ab", 3], "ababab"), (["x", 0], ""), (["é\n", 2], "é\né\n")]),
]  # fmt: skip


def math_rows():
    for index, (question, answer) in enumerate(MATH):
        yield {
            "data_source": "openai/gsm8k",
            "prompt": [{"role": "user", "content": f"{question} {MATH_ASK}"}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": answer},
            "extra_info": {"split": "train" if index < 6 else "test", "index": index},
        }


def code_rows():
    for index, (source, question, fn_name, tests) in enumerate(CODE):
        if fn_name is None:
            truth = {"inputs": [given for given, _ in tests], "outputs": [wanted for _, wanted in tests]}
        else:
            truth = {
                "fn_name": fn_name,
                "inputs": ["\n".join(json.dumps(argument) for argument in given) for given, _ in tests],
                "outputs": [json.dumps(wanted) for _, wanted in tests],
            }
        yield {
            "data_source": source,
            "prompt": [{"role": "system", "content": CODE_SYSTEM}, {"role": "user", "content": question}],
            "ability": "code",
            "reward_model": {"style": "rule", "ground_truth": json.dumps(truth)},
            "extra_info": {"split": "train", "index": index},
        }


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root, help="root of the repository to write into")
    folder = parser.parse_args().out / "data/tests/fixtures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("verl_math", math_rows()), ("verl_code", code_rows())):
        path = folder / f"{name}.parquet"
        table = pd.DataFrame(list(rows))
        table.to_parquet(path, index=False)
        print(path, len(pd.read_parquet(path)), "rows", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
