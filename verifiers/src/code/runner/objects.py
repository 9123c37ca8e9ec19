# Objects that do not cross: a program's side of what its tests do with them, and of what it does with theirs.


class Talk:
    """The program's end of the talk with its tests: they ask, it answers, and in between it may ask them back for what they lent it."""

    def __init__(self, nonce, max_result):
        self.nonce, self.max_result, self.sent = nonce, max_result, 0
        self.space, self.shared = {}, Shared(1)
        # Objects that the tests know by number; kept alive, so that a number stays its object's own.
        self.objects, self.numbers = [], {}
        self.proxies, self.lent_numbers = {}, {}
        # Names that tests gave, for the tests that follow (`raw_asserts`).
        self.named = {}
        # Threads of the program take turns.
        self.turn = _thread.RLock()

    def answer(self, payload):
        send(self.nonce + struct.pack(">I", self.sent) + payload)
        self.sent += 1

    # How what is no plain value crosses.

    def out(self, value):
        lent = self.lent_numbers.get(id(value))
        if lent is not None:
            return struct.pack(">cI", b"k", lent), ("",)
        if crosses_by_name(value):
            name = f"builtins.{value.__name__}".encode()
            return struct.pack(">cI", b"g", len(name)) + name, ()
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return struct.pack(">cI", b"a" if type(value) is types.CoroutineType else b"h", self.numbers[id(value)]), ()

    def object(self, number):
        return self.objects[number]

    def lent(self, number, about):
        if number not in self.proxies:
            made, _, name = about.partition(":")
            if made == "function":
                proxy = lent_function(self, number, name)
            else:
                proxy = lent_object(self.space.get(name), name)
                object.__setattr__(proxy, "_lent", (self, number))
            self.proxies[number] = proxy
            self.lent_numbers[id(proxy)] = number
        return self.proxies[number]

    def called(self, name):
        where, _, rest = name.partition(".")
        return getattr(builtins, rest) if where == "builtins" else find(self.space, name)

    # What the tests ask.

    def perform(self, request):
        global foreign
        foreign, printed, before = self, None, sys.stdout
        try:
            operation, subject, arguments, named, capture = self.shared.read(request)
            if capture:
                printed = sys.stdout = io.StringIO()
            value = OPERATIONS[operation](subject, *arguments, **dict(named))
            foreign = self
            return b"V" + self.shared.frame((value, said(printed)), self.max_result)
        except Refused as e:
            return e.args[0]
        except Exception as e:
            if isinstance(e, MemoryError):
                return b"M"
            return self.raised(e, said(printed))
        except BaseException as e:
            return failure(e)
        finally:
            if printed is not None:
                sys.stdout = before

    def raised(self, error, printed=None):
        """An exception as data: the names of its classes, its arguments, its text, and itself by number."""
        names = [c.__name__ for c in type(error).__mro__]
        text = describe(error, 10_000).decode().partition(": ")[2]
        try:
            return b"Y" + self.shared.frame((tuple(names), error.args, text, error, printed), self.max_result)
        except Refused as e:
            return e.args[0]
        except Exception:
            return failure(error)

    # What the program asks.

    def ask(self, number, operation, arguments, named):
        global foreign
        with self.turn:
            foreign = self
            self.answer(b"Q" + self.shared.frame((number, operation, tuple(arguments), tuple(named.items())), self.max_result))
            while True:
                reply = receive()
                foreign = self
                if reply[:1] != b"C":
                    break
                self.answer(self.perform(reply[1:]))
            said = self.shared.read(reply[1:])
            if reply[:1] == b"A":
                return said
            raise builtin_exception(*said)


def crosses_by_name(value):
    """Whether both sides have the same: Python's plain types and its exceptions, which do nothing that a test could not do without them."""
    return isinstance(value, type) and (value in PLAIN_TYPES or getattr(builtins, value.__name__, None) is value and issubclass(value, Exception))


def said(printed):
    return None if printed is None else printed.getvalue()


def builtin_exception(names, arguments, text):
    """The exception of the first class that is Python's own, or of the nearest that can be made."""
    for name in names:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(*arguments)
            except Exception:
                return Exception(text)
    return Exception(text)


def measured(operation):
    """An operation whose answer a list would give too: an object that a method returned answers only if the test names its class, and of its
    truth only what is true of every object: that there is one, as at the end of a linked list."""

    def answered(subject, known):
        kind = type(subject)
        says_so = operation is bool and (hasattr(kind, "__bool__") or hasattr(kind, "__len__"))
        if known is not None and (kind.__name__ not in known or says_so) and not is_python_own(kind):
            return None
        return operation(subject)

    return answered


def is_python_own(kind):
    return kind.__module__ in ("builtins", "collections", "itertools") and not kind.__flags__ & (1 << 9)


def leave(subject, error):
    return bool(left_to(subject.__exit__, error))


def left_to(exit, error):
    """The end of a `with`. An exception is the program's own, or comes as its classes' names, its arguments and its text."""
    if error is None:
        return exit(None, None, None)
    if type(error) is tuple:
        names, arguments, text = error
        own = [foreign.space.get(name) for name in names]
        own = [kind for kind in own if isinstance(kind, type) and issubclass(kind, BaseException)]
        error = own[0](*arguments) if own else builtin_exception(names, arguments, text)
    return exit(type(error), error, error.__traceback__)


def next_of(subject):
    for item in subject:
        return [item]
    return []


PLAIN_TYPES = frozenset((int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset))
# What a test may do with the program's functions and objects.
OPERATIONS = {
    "value": lambda subject: subject,
    "call": lambda subject, *arguments, **named: subject(*arguments, **named),
    "get": getattr,
    "set": setattr,
    "del": delattr,
    "iter": iter,
    "next": next_of,
    "len": measured(len),
    "bool": measured(bool),
    "isinstance": lambda subject, value: isinstance(value, subject),
    "issubclass": lambda subject, kind: issubclass(kind, subject),
    "type": type,
    "getslice": lambda subject, *bounds: subject[slice(*bounds)],
    "callable": callable,
    "is_member": lambda subject: "enum" in sys.modules and isinstance(subject, sys.modules["enum"].Enum),
    "leave": leave,
    "leave_awaited": lambda subject, error: awaiting(left_to(subject.__aexit__, error)),
    "anext": lambda subject: awaiting(subject.__anext__()),
    "advance": advance,
    "copy": copy.copy,
    "deepcopy": lambda subject: copy.deepcopy(subject),
    "operator": lambda subject, name, *operands: BY_NAME[name](*operands),
    **{f.__name__: f for f in (str, repr, format)},
    **{n: getattr(operator, n) for n in ("getitem", "setitem", "delitem")},
}
BINARY = "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift".split()
COMPARED = "eq ne lt le gt ge".split()
BY_NAME = {
    **{n: getattr(operator, n) for n in (*BINARY, *COMPARED, "contains", "neg", "pos", "invert", "index")},
    **{f.__name__: f for f in (int, float, complex, abs, hash, round, divmod)},
}


def lent_function(talk, number, name):
    def called(*arguments, **named):
        return talk.ask(number, "call", arguments, named)

    called.__name__ = called.__qualname__ = name
    return called


def lent_object(own, name):
    """An object of the tests', an instance of the program's class of that name too where both have it."""
    if isinstance(own, type):
        try:
            return object.__new__(type(name, (Lent, own), {}))
        except TypeError:
            pass
    return object.__new__(type(name, (Lent,), {}))


class Lent:
    """An object of the tests', in the program's process."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        talk, number = object.__getattribute__(self, "_lent")
        return talk.ask(number, "get", [name], {})

    def __setattr__(self, name, value):
        talk, number = object.__getattribute__(self, "_lent")
        talk.ask(number, "set", [name, value], {})

    def __iter__(self):
        talk, number = object.__getattribute__(self, "_lent")
        return talk.ask(number, "iter", [], {})

    def __next__(self):
        talk, number = object.__getattribute__(self, "_lent")
        for item in talk.ask(number, "next", [], {}):
            return item
        raise StopIteration

    def __hash__(self):
        return object.__hash__(self)


def lent_operation(operation):
    def asked(self, *arguments):
        talk, number = object.__getattribute__(self, "_lent")
        return talk.ask(number, operation, arguments, {})

    return asked


LENT_OPERATIONS = "len str repr bool getitem setitem contains eq ne lt le gt ge add sub mul".split()
for _operation in LENT_OPERATIONS:
    setattr(Lent, f"__{_operation}__", lent_operation(_operation))
