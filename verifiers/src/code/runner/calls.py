# Calls of a program's functions, and the values that cross.


def functions(nonce, name, code, max_result):
    """Loads the program once, then answers one input after another. The answer to the first says if the program did not load."""
    space, target, broken = None, None, None
    try:
        compiled = compile(code, "solution.py", "exec", dont_inherit=True)
    except BaseException as e:
        broken = failure(e, b"C")
    index = 0
    while True:
        if broken is None and space is None:
            try:
                space = module("solution")
                exec(compiled, space)
                target = find(space, name) if name else None
                if name:
                    # HumanEval's asserts call the function by this name.
                    space.setdefault("candidate", target)
            except BaseException as e:
                broken = failure(e, b"L")
        request = receive()
        answer = broken or attempt(space, target, request, max_result)
        send(nonce + struct.pack(">I", index) + answer)
        index += 1


def find(space, name):
    if name in space:
        return space[name]
    # LeetCode's form: a method of a class called Solution.
    if "Solution" in space and hasattr(space["Solution"], name):
        return getattr(space["Solution"](), name)
    raise NameError(f"the program defines no function {name!r}")


def attempt(space, target, request, max_result):
    kind = request[:1]
    body = "" if kind in b"AC" else request[1:].decode()
    try:
        if kind == b"A":
            value = target(*decode(request[1:]))
        elif kind == b"C":
            name, arguments, named = decode(request[1:])
            value = find(space, name)(*arguments, **named)
            # A test may look at what became of a list that it handed over.
            value = [value, arguments if all(map(is_plain, arguments)) else None]
        elif kind == b"E":
            value = eval(compile(body, "test", "eval", dont_inherit=True), space)
        else:
            exec(compile(body, "test", "exec", dont_inherit=True), space)
            return b"D"
        out = []
        encode(value, out, [max_result], 0)
        return b"V" + b"".join(out)
    except Refused as e:
        return e.args[0]
    except BaseException as e:
        return failure(e)


def is_plain(value):
    try:
        encode(value, [], [1 << 30], 0)
        return True
    except Refused:
        return False


class Refused(Exception):
    """A value that does not cross: too large, too deep, or of a type that is not exactly one of Python's plain ones."""


def encode(value, out, left, depth, pack=struct.pack):
    """Appends tag and content. Exact types only: a subclass of int may say that it equals everything."""
    kind = type(value)
    if value is None:
        data = b"N"
    elif kind is bool:
        data = b"T" if value else b"F"
    elif kind is int:
        digits = b"%x" % value
        data = pack(">cI", b"i", len(digits)) + digits
    elif kind is float:
        data = pack(">cd", b"f", value)
    elif kind is str:
        text = value.encode("utf-8", "surrogatepass")
        data = pack(">cI", b"s", len(text)) + text
    elif kind is bytes:
        data = pack(">cI", b"b", len(value)) + value
    elif kind in CONTAINERS:
        data = pack(">cI", CONTAINERS[kind], len(value))
    else:
        raise Refused(b"R" + kind.__name__.encode("utf-8", "replace")[:100])
    out.append(data)
    left[0] -= len(data)
    if left[0] < 0:
        raise Refused(b"O")
    if kind in CONTAINERS:
        if depth >= MAX_DEPTH:
            raise Refused(b"Rvalue nested too deep")
        items = itertools.chain.from_iterable(value.items()) if kind is dict else value
        for item in items:
            encode(item, out, left, depth + 1)


def decode(data):
    """The value that `encode` wrote; the bytes come from the supervisor."""
    value, rest = decode_one(memoryview(data))
    assert not rest
    return value


def decode_one(data):
    tag, data = bytes(data[:1]), data[1:]
    if tag in CONSTANTS:
        return CONSTANTS[tag], data
    if tag == b"f":
        return struct.unpack(">d", data[:8])[0], data[8:]
    (size,), data = struct.unpack(">I", data[:4]), data[4:]
    if tag in b"isb":
        body, data = bytes(data[:size]), data[size:]
        return int(body, 16) if tag == b"i" else body if tag == b"b" else body.decode("utf-8", "surrogatepass"), data
    items = []
    for _ in range(size * 2 if tag == b"d" else size):
        item, data = decode_one(data)
        items.append(item)
    if tag == b"d":
        return dict(zip(items[::2], items[1::2])), data
    return {b"l": list, b"t": tuple, b"S": set, b"Z": frozenset}[tag](items), data


CONSTANTS = {b"N": None, b"T": True, b"F": False}
CONTAINERS = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z", dict: b"d"}
