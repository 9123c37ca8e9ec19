# Tests that are code, apart from the program that they test.


def examine(nonce, name, code):
    """Runs tests in a process that the program never enters: the names that they miss are calls to it, and only plain values come back.

    One test a frame; what the tests share (`code`) is run once.
    """
    space, index = module("tests"), 0
    try:
        exec(compile(code, "setup.py", "exec", dont_inherit=True), space)
        broken = None
    except BaseException as e:
        broken = b"L" + describe(e)
    while True:
        source = receive()
        head = nonce + struct.pack(">I", index)
        send(head + (broken or one_test(space, name, source, head)))
        index += 1


def one_test(space, name, source, head):
    calls, Remote.head = Remote.calls, head
    try:
        compiled = compile(source, "test.py", "exec", dont_inherit=True)
        known = set(space) | set(vars(builtins))
        for missing in names_of(compiled) - known:
            if missing in MODULES:
                space[missing] = __import__(missing)
            else:
                space[missing] = Remote(name if missing == "candidate" and name else missing)
        space.pop("check", None)
        exec(compiled, space)
        if name and isinstance(space.get("check"), types.FunctionType):
            space["check"](Remote(name))
        # A test that asks the program nothing would pass every program.
        return b"D" if Remote.calls > calls else b"Uthe test never calls the program"
    except Uncrossable as e:
        return b"U" + str(e).encode("utf-8", "replace")
    except RemoteFailure as e:
        return e.args[0]
    except BaseException as e:
        return b"X" + describe(e)


def names_of(code):
    """Global names that a code object and those inside it use."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*(names_of(c) for c in code.co_consts if isinstance(c, types.CodeType)))


# Tests use these without an import where the program is sure to have one.
MODULES = frozenset("math cmath re random string collections itertools functools operator heapq bisect copy datetime json sys".split())


class Uncrossable(BaseException):
    """A test hands the program something that is no plain value."""


class RemoteFailure(BaseException):
    """The program failed in a way that a test must not catch."""


def take_over(old, new):
    """Makes a container what the program made of its copy."""
    if type(old) is not type(new):
        return
    if type(old) is list:
        old[:] = new
    elif type(old) in (dict, set):
        old.clear()
        old.update(new)


class Remote:
    """A function of the program. It stays in the space of the tests, so the head of a frame is not its own but the test's."""

    calls, head = 0, b""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        raise Uncrossable(f"the test uses `{attribute}` of the program's `{self._name}`")

    def __call__(self, *arguments, **named):
        Remote.calls += 1
        out = []
        try:
            encode([self._name, list(arguments), named], out, [1 << 24], 0)
        except Refused as e:
            raise Uncrossable(f"an argument of {self._name} is no plain value") from e
        send(Remote.head + b"Q" + b"".join(out))
        answer = receive()
        if answer[:1] == b"V":
            value, changed = decode(answer[1:])
            for old, new in zip(arguments, changed or ()):
                take_over(old, new)
            return value
        kind, _, text = answer[1:].decode("utf-8", "replace").partition(": ")
        raised = getattr(builtins, kind, None)
        # Tests may want an exception, and expect it by its type.
        if answer[:1] == b"X" and isinstance(raised, type) and issubclass(raised, Exception):
            raise raised(text)
        raise RemoteFailure(answer)
