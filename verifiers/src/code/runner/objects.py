# Objects that do not cross: a program's side of what its tests do with them, and of what it does with theirs.


class Talk:
    """The program's end of the talk with its tests: they ask, it answers, and in between it may ask them back for what they lent it."""

    def __init__(self, nonce, max_result):
        self.nonce, self.max_result, self.sent = nonce, max_result, 0
        self.space = {}
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
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return struct.pack(">cI", b"h", self.numbers[id(value)]), ()

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
            operation, subject, arguments, named, capture = decode(request)
            if capture:
                printed = sys.stdout = io.StringIO()
            mutable = [encoded(a, 1 << 30) if type(a) in CHANGEABLE else None for a in (*arguments, *named.values())]
            value = OPERATIONS[operation](subject, *arguments, **named)
            # A test may look at what became of a list that it handed over.
            changed = [
                a if was is not None and encoded(a, 1 << 30) != was else None
                for a, was in zip((*arguments, *named.values()), mutable)
            ]
            if not any(a is not None for a in changed):
                changed = None
            return b"V" + encoded([value, changed, said(printed)], self.max_result)
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
            return b"Y" + encoded([names, list(error.args), text, error, printed], self.max_result)
        except Refused as e:
            return e.args[0]
        except Exception:
            return failure(error)

    # What the program asks.

    def ask(self, number, operation, arguments, named):
        global foreign
        with self.turn:
            foreign = self
            handed = (*arguments, *named.values())
            self.answer(b"Q" + encoded([number, operation, list(arguments), named], self.max_result))
            while True:
                reply = receive()
                foreign = self
                if reply[:1] != b"C":
                    break
                self.answer(self.perform(reply[1:]))
            if reply[:1] == b"A":
                value, changed = decode(reply[1:])
                for old, new in zip(handed, changed or ()):
                    take_over(old, new)
                return value
            names, arguments, text = decode(reply[1:])
            raise builtin_exception(names, arguments, text)


def said(printed):
    return None if printed is None else printed.getvalue()


CHANGEABLE = (list, dict, set, collections.deque, collections.OrderedDict, collections.defaultdict, collections.Counter)


def take_over(old, new):
    """Makes a container what the other side made of its copy; containers inside it stay themselves where they can."""
    kind = type(old)
    if kind is not type(new) or kind not in CHANGEABLE:
        return
    if kind in (list, collections.deque):
        for at, (mine, theirs) in enumerate(zip(list(old), new)):
            new[at] = keep_or_take(mine, theirs)
        old.clear()
        old.extend(new)
    elif kind is set:
        old.clear()
        old.update(new)
    else:
        items = [(key, keep_or_take(old.get(key), value)) for key, value in new.items()]
        old.clear()
        for key, value in items:
            old[key] = value


def keep_or_take(mine, theirs):
    if type(mine) is type(theirs) and type(mine) in CHANGEABLE:
        take_over(mine, theirs)
        return mine
    return theirs


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


def next_of(subject):
    for item in subject:
        return [item]
    return []


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
