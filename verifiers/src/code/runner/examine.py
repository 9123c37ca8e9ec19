# Tests that are code, apart from the program that they test.


def examine(nonce, name, code):
    """Runs tests in a process that the program never enters: the names that they miss are the program's, and what they do with those is asked of it.

    One test a frame, `S` and statements or `E` and an expression whose value is wanted; what the tests share (`code`) is run once.
    """
    global foreign
    space, index = module("__main__", at_hand=False), 0
    foreign = Tester(space, nonce + struct.pack(">I", 0))
    space.update(OF_TESTS)
    sys.modules["solution"] = OfProgram("solution")
    # Only a test that was asked for has the program's ear: what the tests share may need it, too.
    request = receive()
    broken = shared(foreign, name, code)
    while True:
        foreign.head = nonce + struct.pack(">I", index)
        send(foreign.head + (broken or one_test(foreign, name, request[:1], request[1:])))
        index += 1
        request = receive()


def shared(tester, name, code):
    """Runs what the tests share; what is wrong with it."""
    try:
        compiled, uses = read_test(code, "setup.py", "exec")
        tester.know(compiled, uses, name)
        exec(compiled, tester.space)
        return tester.stuck
    except BaseException as e:
        return tester.stuck or (answer_of(e, tester) if tester.calls else b"L" + describe(e))


def read_test(text, file, mode):
    """The code of a test's text, and what the text says of the program's names."""
    watch_suites(text)
    tree, uses = ast.parse(text, file, mode), Uses()
    uses.visit(tree)
    return compile(crossing(tree), file, mode, dont_inherit=True), uses


def one_test(tester, name, kind, source):
    tester.begin()
    answer = None
    try:
        if LOOKS.search(source):
            return b"Uthe test replaces or looks at standard streams"
        mode = "eval" if kind == b"E" else "exec"
        compiled, uses = read_test(source, "test.py", mode)
        tester.know(compiled, uses, name)
        if kind == b"E":
            answer = value_of(eval(compiled, tester.space))
        else:
            tester.space.pop("check", None)
            before = dict(tester.space)
            exec(compiled, tester.space)
            if name and isinstance(tester.space.get("check"), types.FunctionType):
                tester.space["check"](Remote(name))
            if tester.calls == 0:
                run_collected(tester.space, before)
            answer = b"D"
        if tester.calls == 0:
            # A test that asks the program nothing would pass every program.
            answer = b"Uthe test never calls the program"
    except BaseException as e:
        answer = answer_of(e, tester)
    # The first thing that a test must not catch.
    return tester.stuck or answer


def answer_of(error, tester):
    """What a test says that an exception ended."""
    if isinstance(error, (Refused, RemoteFailure)):
        return error.args[0]
    if isinstance(error, Misplaced):
        return b"Rits own object"
    text = describe(error)
    if isinstance(error, Uncrossable):
        return b"U" + str(error).encode("utf-8", "replace")
    if not tester.is_of_program(error):
        if isinstance(error, SystemExit) and not error.code:
            return b"D" if tester.calls else b"Uthe test never calls the program"
        if isinstance(error, ImportError):
            return b"Uthe test imports what is not here: " + text
        if isinstance(error, TypeError) and tester.names_a_class() and (HANDLES.search(text) or is_of_library(error)):
            return b"Uthe test does with an object of the program's what only the program could: " + text
    # What goes wrong before the program was asked anything is the test's own fault.
    return (b"X" if tester.calls else b"U") + text


HANDLES = re.compile(rb"\b(Handle|Remote)\b")


def is_of_library(error):
    """Whether an exception comes out of a module that the test calls, which could not use what it was handed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename not in ("test.py", "setup.py", "<string>")


def value_of(value):
    if type(value) is Remote:
        value = value._value()
    if type(value) in (type({}.keys()), type({}.items())):
        value = set(value)
    if holds_handle(value) or isinstance(value, type):
        raise RemoteFailure(b"Rits own object")
    return b"V" + encoded(value, 1 << 30)


def holds_handle(value, depth=0):
    if type(value) in CONTAINERS and depth < MAX_DEPTH:
        items = itertools.chain.from_iterable(value.items()) if type(value) in DICTS else value
        return any(holds_handle(item, depth + 1) for item in items)
    return type(value) in (Handle, Remote) or isinstance(value, RemoteError)


# What a test would hold in front of standard streams of its own; the program has others. Its standard output alone is handed back.
LOOKS = re.compile(rb"\b(redirect_stderr|capsys|capfd|sys\.stderr|sys\.stdin|monkeypatch|unittest\.mock|mock\.patch|builtins\.(print|input|open))\b")

# Tests use these without an import where the program is sure to have one.
MODULES = frozenset("math cmath re random string collections itertools functools operator heapq bisect copy datetime json sys".split())


class Uncrossable(BaseException):
    """A test does with the program what cannot be judged from outside."""


class RemoteFailure(BaseException):
    """The program failed in a way that a test must not catch."""


class Misplaced(TypeError):
    """A test takes the length or the truth of an object where only a plain value's is worth something."""


class Stopped(Exception):
    """StopIteration of the program's, as the test sees it: an exception like any other. Python's own would end the `map` or `zip` that the
    test runs the program under, and what is compared with nothing holds."""


Stopped.__name__ = Stopped.__qualname__ = "StopIteration"


class RemoteError(Exception):
    """An exception class of the program's."""

    _text, _handle = "", None

    def __str__(self):
        return self._text

    def __getattr__(self, name):
        if name.startswith("__") or self._handle is None:
            raise AttributeError(name)
        return getattr(self._handle, name)


def unlike_an_end(error):
    return Stopped(*error.args) if isinstance(error, (StopIteration, StopAsyncIteration)) else error


class OfProgram(types.ModuleType):
    """What a test imports as the solution."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Remote(name)


class Tester:
    """The end of the talk that the tests have."""

    def __init__(self, space, head):
        self.space, self.head, self.calls, self.stuck = space, head, 0, None
        self.shared, self.exceptions = Shared(0), {}
        self.arriving = "returned"
        self.classes, self.shown = set(), set()
        # What the program was lent: it knows it by number.
        self.objects, self.numbers = [], {}
        # What `id` says of the program's objects, and all names that the tests use.
        self.identities, self.words = {}, set()

    def begin(self):
        self.calls, self.stuck = 0, None

    def know(self, compiled, uses, name):
        """Gives the names that a test lacks."""
        self.classes |= {n for n in uses.all_classes() if is_capital(n)}
        known = set(self.space) | set(vars(builtins))
        for missing in names_of(compiled) - known:
            if missing in MODULES:
                self.space[missing] = __import__(missing)
            elif missing in uses.caught and is_capital(missing):
                self.space[missing] = self.exception(missing)
            else:
                self.space[missing] = Remote(name if missing == "candidate" and name else missing)
        if name and name in vars(builtins) and self.space.get(name) is OF_TESTS.get(name):
            self.space[name] = Remote(name)
        self.words |= names_of(compiled)
        self.shown |= {n for n in self.words if is_capital(n)}

    def exception(self, name):
        """The class that stands for an exception class of the program's."""
        if name not in self.exceptions:
            self.exceptions[name] = type(name, (RemoteError,), {})
        return self.exceptions[name]

    def names_a_class(self):
        """Whether the tests use a name of the program's that may be a class; LeetCode's is only where its function lies."""
        return any(type(self.space.get(name)) is Remote and name != "Solution" for name in self.shown)

    def fail(self, failure):
        """Ends the test, whatever the test makes of it."""
        if self.stuck is None:
            self.stuck = failure.args[0] if type(failure) is RemoteFailure else b"U" + str(failure).encode("utf-8", "replace")
        return failure

    def is_of_program(self, error):
        return getattr(error, "_of_program", False)

    # How what is no plain value crosses.

    def out(self, value):
        kind = type(value)
        if kind is Handle:
            return struct.pack(">cI", b"h", value._number), ()
        if isinstance(value, RemoteError) and value._handle is not None:
            return struct.pack(">cI", b"h", value._handle._number), ()
        named = value._name if kind is Remote else self.named(value)
        if named:
            return struct.pack(">cI", b"g", len(named.encode())) + named.encode(), ()
        about = self.about(value)
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return struct.pack(">cI", b"k", self.numbers[id(value)]), (about,)

    def named(self, value):
        name = getattr(value, "__name__", None)
        if isinstance(value, (type, types.BuiltinFunctionType)) and isinstance(name, str) and getattr(builtins, name, None) is value:
            return f"builtins.{name}"
        if isinstance(value, type) and issubclass(value, RemoteError):
            return name
        return None

    def about(self, value):
        if isinstance(value, FUNCTIONS):
            return "function:" + str(getattr(value, "__name__", "function"))
        if isinstance(value, type) and value.__module__ == "__main__":
            return "function:" + value.__name__
        if isinstance(value, SEQUENCES):
            return "iterable:" + type(value).__name__
        if type(value).__module__ == "__main__" or isinstance(value, (io.StringIO, io.BytesIO)):
            return "object:" + type(value).__name__
        raise self.fail(Uncrossable(f"a value for the program, of type {type(value).__name__}, is no plain one"))

    def object(self, number):
        return Handle(number, self.arriving)

    def coroutine(self, number):
        handle = Handle(number, "returned")
        handle.__dict__["_driver"] = awaited(handle)
        return handle

    def lent(self, number, about):
        return self.objects[number]

    def called(self, name):
        kind = getattr(builtins, name.partition(".")[2], None)
        if not crosses_by_name(kind):
            raise ValueError("other names come from the tests alone")
        return kind

    # What is asked of the program.

    def ask(self, operation, subject, arguments=(), named=None, origin="returned"):
        if self.stuck is not None:
            raise RemoteFailure(self.stuck)
        self.calls += 1
        capture = sys.stdout is not sys.__stdout__
        try:
            body = self.shared.frame((operation, subject, tuple(arguments), tuple((named or {}).items()), capture), 1 << 24)
        except Refused as e:
            raise self.fail(Uncrossable("a value for the program is too large or too deep")) from e
        send(self.head + b"Q" + body)
        while True:
            answer = receive()
            kind, body = answer[:1], answer[1:]
            if kind != b"Q":
                break
            send(self.head + self.serve(body))
        self.arriving = "read" if origin == "read" else "returned"
        try:
            answer = self.shared.read(body)
            if kind == b"V":
                value, printed = answer
            else:
                *about, printed = answer
                error = self.raised(*about)
                error.__dict__.update(_of_program=True, _handle=about[3])
        except Exception as e:
            raise self.fail(RemoteFailure(b"Ran answer that makes no sense")) from e
        finally:
            self.arriving = "returned"
        if type(printed) is str and capture:
            sys.stdout.write(printed)
        if kind != b"V":
            raise error
        if type(value) is Handle:
            value.__dict__["_origin"] = origin
        elif isinstance(value, type) and origin == "returned" and value.__name__ not in self.words:
            # A class is true and unlike every value; one that the test does not name is not what it wants.
            raise self.fail(RemoteFailure(b"Rits own object"))
        return value

    def raised(self, names, arguments, text, handle):
        """The exception that a test may expect: of the program's class where the test names it, of Python's else."""
        # A test may name the class only where it catches it.
        known = [self.exception(name) for name in names if not hasattr(builtins, name)]
        if known or not hasattr(builtins, names[0]):
            base = type(unlike_an_end(builtin_exception(names, (), "")))
            bases = tuple(dict.fromkeys((*known, RemoteError, base)))
            bases = tuple(b for b in bases if not any(b is not c and issubclass(c, b) for c in bases))
            error = type(names[0], bases, {})(*arguments)
            error._text, error._handle = text, handle
            return error
        return unlike_an_end(builtin_exception(names, arguments, text))

    # What the program asks: it may call what it was lent, and look at public attributes of objects of the tests' own classes.

    def serve(self, body):
        try:
            number, operation, arguments, named = self.shared.read(body)
            value = self.served(self.objects[number], operation, arguments, dict(named))
            return b"A" + self.shared.frame(value, 1 << 24)
        except (RemoteFailure, Uncrossable) as e:
            self.fail(e)
            return b"Y" + self.shared.frame((("RuntimeError",), (), "the test is over"), 1 << 24)
        except BaseException as e:
            if isinstance(e, AssertionError):
                # An assert of the test's holds or it does not, whatever the program makes of it.
                self.fail(RemoteFailure(b"X" + describe(e)))
            return b"Y" + self.shared.frame(about_error(e), 1 << 24)

    def served(self, subject, operation, arguments, named):
        about = self.about(subject).partition(":")[0]
        if operation == "call" and about == "function":
            return subject(*arguments, **named)
        if operation in ("iter", "next", "len", "getitem") and about != "function":
            return SERVED[operation](subject, *arguments)
        if operation == "set" and callable(getattr(type(subject), str(arguments[0]), None)):
            # It would answer in place of the test's own method.
            raise AttributeError(f"{arguments[0]!r} is a method of the test's")
        if about == "object" and operation in SERVED and not (arguments and str(arguments[0]).startswith("_")):
            return SERVED[operation](subject, *arguments)
        raise AttributeError(operation)


def about_error(error):
    names = tuple(kind.__name__ for kind in type(error).__mro__)
    plain = tuple(a for a in error.args if type(a) in (str, int, float, bool))
    return names, plain, describe(error).decode().partition(": ")[2]


SERVED = {
    "get": getattr, "set": setattr, "iter": iter, "next": next_of,
    **{f.__name__: f for f in (len, str, repr, bool)},
    **{n: getattr(operator, n) for n in "getitem setitem contains eq ne lt le gt ge add sub mul".split()},
}  # fmt: skip
FUNCTIONS = (
    types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.MethodWrapperType, types.MethodDescriptorType,
    functools.partial, operator.itemgetter, operator.attrgetter, operator.methodcaller,
)  # fmt: skip
SEQUENCES = (
    range, types.GeneratorType, map, filter, zip, enumerate, reversed,
    *{type(iter(v)) for v in ((), [], "", {}, set(), range(0), {}.values(), {}.items())}, type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip
