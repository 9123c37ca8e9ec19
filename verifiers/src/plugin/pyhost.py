"""Hosts a Python reward as it is: calls it in its own style and speaks the plugin protocol for it.

Standard library only. Usage: python3 -c HOST TARGET STYLE, where TARGET is FILE.py:NAME or MODULE:NAME.
What the reward prints goes to stderr, so that it cannot break the protocol.
"""

import asyncio
import importlib
import importlib.util
import inspect
import json
import math
import os
import re
import sys


class Failure(Exception):
    """A failure of one item, of a kind."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def plain(value):
    """Text that JSON can carry, whatever the value makes of being asked for one."""
    try:
        text = str(value)
    except BaseException as e:
        text = f"(a {type(value).__name__} whose text is a {type(e).__name__})"
    return text[:500].encode("utf-8", "replace").decode()


def why(e):
    """An exception as kind and message."""
    kind = e.kind if isinstance(e, Failure) else "timeout" if isinstance(e, TimeoutError) else "crash"
    text = plain(e) if isinstance(e, Failure) else f"{type(e).__name__}: {plain(e)}"
    return {"kind": kind, "message": text}


def from_exception(e):
    return {"reward": None, "error": why(e)}


def number(value):
    """A float from whatever stands for one: tensors and arrays of one element included. Text that could be read as a number is none."""
    if hasattr(value, "item") and not isinstance(value, (int, float, str, bytes)):
        value = value.item()
    if not (hasattr(type(value), "__float__") or hasattr(type(value), "__index__")):
        raise Failure("bad_reward", f"the reward is {plain(repr(value))}, not a number")
    value = float(value)
    if not math.isfinite(value):
        raise Failure("bad_reward", f"the reward is {value}")
    return value


def as_list(value, n):
    """A list of n from a list, tuple, generator, array or tensor. One number is no list, not even of one: what a function says must not
    depend on how many it is asked about. A set and a dict have no order that the items have."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not hasattr(value, "__iter__") or isinstance(value, (str, bytes, dict, set, frozenset)):
        raise Failure("bad_reward", f"the rewards are {plain(value)}, not a list")
    value = list(value)  # a generator's exceptions come only here
    if len(value) != n:
        raise Failure("bad_reward", f"{len(value)} rewards for {n} items")
    return value


def result(value, may_abstain=False):
    """One result from a number, or from a dict with `score` whose other entries become metrics and tags. `None` is what a function says that
    forgot its `return`, and an opinion withheld only where the style says so."""
    try:
        if value is None and may_abstain:
            return {"reward": None, "status": "undecided", "reason": "the reward function has no opinion"}
        if not isinstance(value, dict):
            return {"reward": number(value)}
        key = "score" if "score" in value else "reward"
        if key not in value:
            raise Failure("bad_reward", "the dict has no `score`")
        rest = list(value.items())[:64]
        metrics, tags = {}, {}
        for name, entry in rest:
            if name == key:
                continue
            try:
                metrics[plain(name)] = number(entry)
            except Exception:
                tags[plain(name)] = plain(entry)
        return {"reward": number(value[key]), "metrics": metrics, "tags": tags}
    except Exception as e:
        return from_exception(e)


LOOP = asyncio.new_event_loop()
HOST = os.getpid()


def no_copy_answers():
    """Ends a copy of this process that a reward's `fork` made and that came back from it: the requests are not the copy's to answer."""
    if os.getpid() != HOST:
        os._exit(0)


def call(function, *args, **kwargs):
    try:
        value = function(*args, **kwargs)
        if inspect.isawaitable(value):
            value = LOOP.run_until_complete(value)
        return value
    finally:
        no_copy_answers()


def accepted(function, available):
    """The arguments that a function names; all of them where it takes **kwargs."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(available)
    return {name: value for name, value in available.items() if name in parameters}


def each(function, items):
    """Results of items that are judged one by one: a failure is the item's own."""
    results = []
    for item in items:
        try:
            results.append(result(function(item)))
        except BaseException as e:
            results.append(from_exception(e))
    return results


def messages(role, text):
    return [{"role": role, "content": text or ""}]


class Verl:
    batch, group = False, False

    def __init__(self, target, settings):
        self.target, self.settings = target, settings

    def one(self, item):
        available = {
            "data_source": item["data_source"],
            "solution_str": item["completion"],
            "ground_truth": item["ground_truth"],
            "extra_info": item["extra"],
        }
        return call(self.target, **accepted(self.target, {**available, **self.settings}))

    def score(self, items):
        return each(self.one, items)


class VerlBatch(Verl):
    batch = True

    def score(self, items):
        available = {
            "data_sources": [item["data_source"] for item in items],
            "solution_strs": [item["completion"] for item in items],
            "ground_truths": [item["ground_truth"] for item in items],
            "extra_infos": [item["extra"] for item in items],
        }
        values = call(self.target, **accepted(self.target, {**available, **self.settings}))
        return [result(value) for value in as_list(values, len(items))]


class Trl:
    """Completions are strings or lists of messages, as the dataset has it; `auto` finds out which the function takes."""

    batch, group = True, False

    def __init__(self, target, settings):
        self.target = target
        self.settings = dict(settings)
        self.conversational = self.settings.pop("conversational", None)
        completions = inspect.signature(target).parameters.get("completions")
        if self.conversational is None and completions is not None and "dict" in str(completions.annotation):
            self.conversational = True

    def arguments(self, items, conversational):
        prompts = [item["prompt"] or "" for item in items]
        completions = [item["completion"] for item in items]
        if conversational:
            prompts = [messages("user", text) for text in prompts]
            completions = [messages("assistant", text) for text in completions]
        truths = [item["ground_truth"] for item in items]
        columns = {name: truths for name in ("ground_truth", "solution", "answer", "target", "label")}
        for name in sorted({name for item in items for name in item["extra"]}):
            columns[name] = [item["extra"].get(name) for item in items]
        columns["data_source"] = [item["data_source"] for item in items]
        # Token ids stay with the sampler. Only how many there are is known here, and what length rules need.
        ids = [[0] * (item["token_count"] or 0) for item in items]
        nothing = {"completion_ids": ids, "trainer_state": None, "environments": None}
        logs = {"log_extra": lambda *a, **k: None, "log_metric": lambda *a, **k: None}
        own = {"prompts": prompts, "completions": completions}
        return {**columns, **nothing, **logs, **self.settings, **own}

    def ask(self, items, conversational):
        return call(self.target, **accepted(self.target, self.arguments(items, conversational)))

    def score(self, items):
        try:
            values = self.ask(items, bool(self.conversational))
        except (TypeError, AttributeError, IndexError) as e:
            # Nothing is kept of what is found out: one request must not change what the next one gets.
            if self.conversational is not None or not self.wants_messages(e, items):
                raise
            try:
                values = self.ask(items, True)
            except (TypeError, AttributeError):
                raise e
        return [result(value, may_abstain=True) for value in as_list(values, len(items))]

    def wants_messages(self, e, items):
        """Whether an exception is what `completion[0]["content"]` and the like raise of text."""
        if isinstance(e, IndexError):
            # Of no text at all there is no first letter: another text tells the two apart.
            try:
                self.ask([{**item, "completion": "text"} for item in items], False)
            except (TypeError, AttributeError) as other:
                e = other
            except Exception:
                return False
        text = plain(e)
        return text.startswith(("string indices must be", "'str' object has no attribute"))


class OpenRlhf:
    batch, group = True, False

    def __init__(self, target, settings):
        self.target, self.settings = target, settings

    def score(self, items):
        prompts = [item["prompt"] or "" for item in items]
        available = {
            "queries": [prompt + item["completion"] for prompt, item in zip(prompts, items)],
            "prompts": prompts,
            "labels": [item["ground_truth"] for item in items],
        }
        values = call(self.target, **accepted(self.target, {**available, **self.settings}))
        logs = {}
        if isinstance(values, dict):
            logs = values.get("extra_logs") or {}
            values = values["rewards"]
        results = [result(value) for value in as_list(values, len(items))]
        for name, log in list(logs.items())[:64]:
            try:
                for scored, value in zip(results, as_list(log, len(items))):
                    if scored["reward"] is not None:
                        scored.setdefault("metrics", {})[plain(name)] = number(value)
            except Exception:
                continue  # a log of the batch, not of its items
        return results


class Verifiers:
    """Functions ask by parameter name; plural names want the whole group. An exception is an error, never a 0."""

    batch = True
    PLURALS = {"states", "prompts", "completions", "answers", "tasks", "infos"}

    def __init__(self, target, settings):
        if getattr(target, "__name__", "") == "load_environment":
            target = target(**settings)
        target = getattr(target, "rubric", target)
        if inspect.isclass(target):
            target = target(**settings)
        self.functions = list(self.parts(target))
        if not self.functions:
            raise Failure("bad_input", "the rubric has no reward function")
        self.group = any(self.is_group(function) for function, _, _ in self.functions)
        # One by one where no function wants more: a failure is then the item's own.
        self.batch = self.group

    def parts(self, target):
        if hasattr(target, "rubrics"):
            for rubric in target.rubrics:
                yield from self.parts(rubric)
        elif hasattr(target, "funcs") or hasattr(target, "reward_funcs"):
            functions = getattr(target, "funcs", None) or getattr(target, "reward_funcs", [])
            weights = getattr(target, "weights", None) or getattr(target, "reward_weights", None)
            weights = weights or [1.0] * len(functions)
            objects = dict(getattr(target, "class_objects", None) or {})
            if getattr(target, "parser", None) is not None:
                objects.setdefault("parser", target.parser)
            for function, weight in zip(functions, weights):
                yield function, weight, objects
        elif callable(target):
            yield target, 1.0, {}

    def is_group(self, function):
        return bool(self.PLURALS & set(inspect.signature(function).parameters))

    def state(self, item):
        extra = item["extra"]
        prompt = messages("user", item["prompt"])
        completion = messages("assistant", item["completion"])
        shared = {
            "prompt": prompt,
            "completion": completion,
            "answer": item["ground_truth"],
            "task": extra.get("task") or item["data_source"] or "default",
            "info": extra.get("info") or extra,
        }
        timing = {"generation_ms": 0.0, "scoring_ms": 0.0, "total_ms": 0.0}
        rest = {"trajectory": [], "responses": [], "turn": 1, "timing": timing, "metrics": {}, "reward": None}
        return {**rest, **shared, "is_completed": True, "is_truncated": item["finish_reason"] == "length"}

    def score(self, items):
        states = [self.state(item) for item in items]
        totals, metrics = [0.0] * len(items), [{} for _ in items]
        failed = {}
        for function, weight, objects in self.functions:
            values = self.values(function, objects, states, failed)
            name = getattr(function, "__name__", "reward")
            for i, value in enumerate(values):
                if i not in failed:
                    totals[i] += weight * value
                    metrics[i][name] = value
        scored = [{"reward": total, "metrics": values} for total, values in zip(totals, metrics)]
        return [failed.get(i, score) for i, score in enumerate(scored)]

    def values(self, function, objects, states, failed):
        names = ("prompt", "completion", "answer", "task", "info")
        if self.is_group(function):
            available = {name + "s": [state[name] for state in states] for name in names}
            available.update(states=states, **objects)
            values = call(function, **accepted(function, available))
            return [number(value) for value in as_list(values, len(states))]
        values = []
        for i, state in enumerate(states):
            try:
                available = {name: state[name] for name in names}
                available.update(state=state, **objects)
                values.append(number(call(function, **accepted(function, available))))
            except BaseException as e:
                failed.setdefault(i, from_exception(e))
                values.append(0.0)
        return values


def final_answer(text):
    """What a reasoning-gym scorer compares: the last <answer>, else the last line outside the reasoning."""
    tagged = re.findall(r"<answer>\s?(.*?)\s?</answer>", text, flags=re.DOTALL)
    if tagged:
        return tagged[-1].strip()
    outside = text.rsplit("</think>", 1)[-1].strip()
    return outside.splitlines()[-1].strip() if outside else ""


class ReasoningGym:
    """`reasoning_gym:NAME` scores for the data set NAME, `reasoning_gym:score_answer` for the one that the item names."""

    batch, group = False, False

    def __init__(self, target, settings):
        self.target, self.settings, self.scorers = target, settings, {}
        if hasattr(target, "score_answer"):
            instance = target(**settings) if inspect.isclass(target) else target
            self.scorers[None] = instance.score_answer

    def scorer(self, item):
        if None in self.scorers:
            return self.scorers[None]
        extra = item["extra"]
        metadata = extra.get("metadata") or {}
        name = self.target or extra.get("source_dataset") or metadata.get("source_dataset") or item["data_source"]
        if name not in self.scorers:
            import reasoning_gym

            self.scorers[name] = reasoning_gym.get_score_answer_fn(name)
        return self.scorers[name]

    def one(self, item):
        extra = item["extra"]
        entry = extra.get("entry")
        if entry is None:
            metadata = extra.get("metadata", extra)
            entry = {"question": item["prompt"], "answer": item["ground_truth"], "metadata": metadata}
        return call(self.scorer(item), answer=final_answer(item["completion"]), entry=entry)

    def score(self, items):
        return each(self.one, items)


class MathVerify:
    batch, group = False, False

    def __init__(self, target, settings):
        module = importlib.import_module("math_verify")
        self.parse, self.verify, self.settings = module.parse, module.verify, settings

    def one(self, item):
        truth = str(item["ground_truth"])
        gold = self.parse(truth) or self.parse(f"${truth}$")
        if not gold:
            raise Failure("bad_input", f"the ground truth {truth!r} cannot be parsed")
        return self.verify(gold, self.parse(item["completion"]), **self.settings)

    def score(self, items):
        return each(self.one, items)


STYLES = {
    "verl": Verl,
    "verl_batch": VerlBatch,
    "trl": Trl,
    "openrlhf": OpenRlhf,
    "verifiers": Verifiers,
    "reasoning_gym": ReasoningGym,
    "math_verify": MathVerify,
}


def guess(module, name, target):
    if module == "math_verify":
        return "math_verify"
    if module == "reasoning_gym" or hasattr(target, "score_answer"):
        return "reasoning_gym"
    if name == "load_environment" or any(hasattr(target, part) for part in ("rubric", "rubrics", "funcs")):
        return "verifiers"
    names = set(inspect.signature(target).parameters) if callable(target) else set()
    for mark, style in (
        ("solution_strs", "verl_batch"),
        ("solution_str", "verl"),
        ("queries", "openrlhf"),
        ("states", "verifiers"),
        ("completion", "verifiers"),
        ("completions", "trl"),
        ("completion_ids", "trl"),
    ):
        if mark in names:
            return style
    raise Failure("bad_input", f"cannot tell the style of {name}({', '.join(sorted(names))}); set `style`")


def load(module, name):
    if module.endswith(".py"):
        path = os.path.abspath(module)
        sys.path.insert(0, os.path.dirname(path))
        spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = loaded
        spec.loader.exec_module(loaded)
    else:
        sys.path.insert(0, os.getcwd())
        loaded = importlib.import_module(module)
    target = loaded
    for part in name.split("."):
        target = getattr(target, part)
    return target


def open_target(where, style, settings):
    module, _, name = where.rpartition(":")
    if module == "reasoning_gym":
        importlib.import_module(module)
        target = None if name == "score_answer" else name
    else:
        target = load(module, name)
    if name.split(".")[-1].startswith(("get_", "make_", "build_")) and callable(target):
        # A factory, as TRL has them: the settings are its arguments, and what it makes is the reward.
        target, settings = target(**settings), {}
    chosen = guess(module, name, target) if style == "auto" else style
    return STYLES[chosen](target, settings)


def main():
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    where, style = sys.argv[1:3]
    sys.argv = [where]
    hosted = None
    for line in requests:
        request = json.loads(line)
        if request["op"] == "hello":
            hosted = open_target(where, style, request.get("settings") or {})
            answer = {"v": 1, "name": where, "batch": hosted.batch, "group": hosted.group}
        else:
            items = request["items"]
            try:
                answer = {"id": request["id"], "results": hosted.score(items)}
            except BaseException as e:
                # Which of the items it is, only asking about each alone can tell.
                answer = {"id": request["id"], "error": why(e)}
        no_copy_answers()
        answers.write(json.dumps(answer, allow_nan=False).encode() + b"\n")
        answers.flush()


main()
