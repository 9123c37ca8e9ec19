# Tests that are code, apart from the program that they test.


def examine(nonce, name, code):
    """Runs tests in a process that the program never enters: the names that they miss are calls to it, and only plain values come back.

    One test a frame; what the tests share (`code`) is run once.
    """
    global object_of
    object_of = Handle
    space, index = module("tests", at_hand=False), 0
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
        names = names_of(compiled)
        if any(word.encode() in source for word in PRINTED):
            return b"Uthe test looks at what the program prints"
        known = set(space) | set(vars(builtins))
        for missing in names - known:
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
        # What goes wrong before the program was asked anything is the test's own fault.
        return (b"X" if Remote.calls > calls else b"U") + describe(e)


def names_of(code):
    """Global names that a code object and those inside it use."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*(names_of(c) for c in code.co_consts if isinstance(c, types.CodeType)))


# Names of what a test would hold in front of its own standard output; the program writes to another.
PRINTED = ("redirect_stdout", "redirect_stderr", "capsys", "sys.stdout")

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


def ask(subject, operation, arguments=(), named=None, objects=True):
    """Has the program do something, and hands back the value; what is no plain one comes as a handle where `objects` are let out."""
    Remote.calls += 1
    out = []
    try:
        encode([subject, operation, list(arguments), named or {}, objects], out, [1 << 24], 0)
    except Refused as e:
        raise Uncrossable(f"a value for the program's {subject} is no plain one") from e
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


class Remote:
    """A function or class of the program. It stays in the space of the tests, so the head of a frame is not its own but the test's.

    Objects are let out of what the test takes for a class, by its capital letter, and of calls that are given objects. The program
    cannot choose that: a function that answers with an object in place of a value has answered wrong.
    """

    calls, head = 0, b""

    def __init__(self, name):
        self._name, self._is_class = name, name.lstrip("_")[:1].isupper()

    def __getattr__(self, attribute):
        if self._is_class and not attribute.startswith("__"):
            return ask(self._name, "get", [attribute])
        raise Uncrossable(f"the test uses `{attribute}` of the program's `{self._name}`")

    def __call__(self, *arguments, **named):
        handed = any(type(a) is Handle for a in (*arguments, *named.values()))
        return ask(self._name, "call", arguments, named, self._is_class or handed)

    def __instancecheck__(self, value):
        return ask(self._name, "isinstance", [value])


class Handle:
    """An object of the program's, known by its number. What is done with it is done there; only plain values are compared here."""

    def __init__(self, number):
        self.__dict__["_number"] = number

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return ask(self, "get", [name])

    def __setattr__(self, name, value):
        ask(self, "set", [name, value])

    def __call__(self, *arguments, **named):
        return ask(self, "call", arguments, named)

    def __eq__(self, other):
        if type(other) is Handle and other._number == self._number:
            return True
        if other is None:
            return False
        if type(other) is Handle:
            raise Uncrossable("the test compares objects of the program's, which could say what they like")
        # Where a value is wanted an object is wrong; else a program could choose not to be judged.
        raise RemoteFailure(b"Rits own object")

    __lt__ = __le__ = __gt__ = __ge__ = __eq__

    def __hash__(self):
        return self._number

    def __iter__(self):
        return iter(ask(self, "iter"))


def through(operation):
    return lambda self, *arguments: ask(self, operation, arguments)


for _operation in "len str repr bool int float abs getitem setitem delitem contains add sub mul truediv neg".split():
    setattr(Handle, f"__{_operation}__", through(_operation))
