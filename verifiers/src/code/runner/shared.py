# Lists, dicts and sets that the program and its tests both hold.


class Shared:
    """Containers that have crossed: one object on each side under one number, so that `is` holds, and what one side changes the other sees.

    The sides take turns, so a frame that says what changed since the last one keeps them equal; it also says which containers nobody but this
    table holds any more. A container that the other side has as it is crosses as its number alone.
    """

    def __init__(self, first):
        # One side counts in even numbers, the other in odd ones.
        self.next, self.open, self.filling = first, False, 0
        # By number: the container, and what was in it when both sides last agreed. By id: the number.
        self.entries, self.numbers, self.sent = {}, {}, set()

    def frame(self, payload, limit):
        """The bytes of a payload, of what else changed, and of what was let go."""
        out, left, known = [b"t\0\0\0\3"], [limit], self.next
        self.sent, self.open = set(), True
        try:
            encode(payload, out, left, 0)
            # While a container is being filled it is nobody's word; hashing what goes into it may ask the other side.
            settled = not self.filling
            changed = [n for n, (c, was) in self.entries.items() if n not in self.sent and not is_same(c, was)]
            encode(tuple(self.entries[n][0] for n in changed) if settled else (), out, left, 0)
            encode(self.let_go() if settled else (), out, left, 0)
        except BaseException:
            # Nothing of this frame reaches the other side.
            for number in self.sent:
                if number >= known and number % 2 == known % 2:
                    self.forget(number)
                elif number in self.entries:
                    self.entries[number][1] = None
            raise
        finally:
            self.open = False
        return b"".join(out)

    def read(self, data):
        payload, _, gone = decode(data)
        for number in gone:
            self.forget(number)
        return payload

    def head(self, container):
        """How a container is sent, and whether what is in it has to follow."""
        number = self.numbers.get(id(container))
        if number is None:
            number, self.next = self.next, self.next + 2
            self.numbers[id(container)] = number
        elif number in self.sent or is_same(*self.entries[number]):
            return struct.pack(">cI", b"&", number), False
        self.sent.add(number)
        self.entries[number] = [container, contents(container)]
        return struct.pack(">cI", b"@", number), True

    def let_go(self):
        gone = []
        # What holds others was numbered before them.
        for number in list(self.entries):
            if references(self.entries[number]) <= ALONE:
                self.forget(number)
                gone.append(number)
        return tuple(gone)

    def forget(self, number):
        entry = self.entries.pop(number, None)
        if entry is not None:
            self.numbers.pop(id(entry[0]), None)

    def arrive(self, number, kind):
        """The container of a number, to be filled; a new one where this side has none."""
        entry = self.entries.get(number)
        if entry is None:
            if number % 2 == self.next % 2:
                raise ValueError("a number that is the other side's to give")
            entry = self.entries[number] = [kind(), None]
            self.numbers[id(entry[0])] = number
        elif type(entry[0]) is not kind:
            raise ValueError("a container does not change its type")
        return entry[0]

    def fill(self, number, container, items):
        self.filling += 1
        try:
            container.clear()
            if type(container) in DICTS:
                for key, value in zip(items[::2], items[1::2]):
                    container[key] = value
            elif type(container) is set:
                container.update(items)
            else:
                container.extend(items)
        finally:
            self.filling -= 1
        self.entries[number][1] = contents(container)

    def known(self, number):
        return self.entries[number][0]


def contents(container):
    return [*container.keys(), *container.values()] if type(container) in DICTS else list(container)


def is_same(container, was):
    """Whether the very same objects are in it. No comparison of theirs is asked."""
    if was is None:
        return False
    now = contents(container)
    return len(now) == len(was) and all(map(operator.is_, now, was))


def references(entry):
    return sys.getrefcount(entry[0])


# References to a container that only its entry holds, as the interpreter counts them.
ALONE = references([[], None])
CHANGEABLE = frozenset((list, dict, set, collections.deque, collections.OrderedDict, collections.defaultdict, collections.Counter))
