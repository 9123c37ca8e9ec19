"""The warm interpreter of a cell, and the child that it forks for each program. Standard library only.

The zygote (`main`) never reads a byte of a program: a program reaches its child over a socket of its own, after the child has given
up its privileges. The child gets one input at a time, and answers with exact-typed data; what is expected never comes here.

Frames on the child's socket: length (u32, big-endian), then the payload.
"""

import _socket
import atexit
import bisect
import collections
import copy
import ctypes
import functools
import gc
import heapq
import itertools
import json
import math
import operator
import os
import random
import re
import resource
import string
import struct
import sys
import time
import types
import typing

CHANNEL, LANDLOCK = 3, 4
COMMAND = struct.Struct("<cQQQQ")
NAMESPACES, HAS_LANDLOCK = 1, 2
CLONE_NEWPID = 0x20000000
MS_NOSUID_NODEV, MNT_DETACH = 2 | 4, 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 22, 2
# These three have the same number on every architecture.
SYS_PIDFD_OPEN, SYS_CLOSE_RANGE, SYS_LANDLOCK_RESTRICT_SELF = 434, 436, 446
SCRATCH = "/box/tmp"
MAX_DEPTH = 100

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def must(result, what):
    """Raises OSError with `what` when a libc call says -1."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


class FilterProgram(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    def __init__(self, code):
        self.code = ctypes.create_string_buffer(code, len(code))
        super().__init__(len(code) // 8, ctypes.addressof(self.code))

    def install(self):
        must(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(self), 0, 0), "seccomp")


# ---------------------------------------------------------------- the zygote


class Zygote:
    def __init__(self):
        self.control = _socket.socket(fileno=CHANNEL)
        flags, self.scratch_mb, self.max_result, own, child = struct.unpack("<IIIII", self.read(20))
        self.namespaces = bool(flags & NAMESPACES)
        self.landlock = bool(flags & HAS_LANDLOCK)
        self.filter, self.child_filter = FilterProgram(self.read(own)), FilterProgram(self.read(child))
        self.own_pid, self.pid = os.getpid(), None
        self.error = b""
        if self.namespaces:
            self.pidfd = must(libc.syscall(SYS_PIDFD_OPEN, self.own_pid, 0), "pidfd_open")
            self.mount_scratch()

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.control.recv(size - len(data))
            if not part:
                os._exit(0)
            data += part
        return data

    def command(self):
        """One command and the descriptors that came with it. The supervisor's end of the socket is its life: at its end, so ends the cell."""
        data, ancillary, _, _ = self.control.recvmsg(COMMAND.size, _socket.CMSG_SPACE(12))
        if not data:
            os._exit(0)
        fds = [fd for _, _, body in ancillary for (fd,) in struct.iter_unpack("i", body[: len(body) // 4 * 4])]
        if len(data) < COMMAND.size:
            data += self.read(COMMAND.size - len(data))
        return COMMAND.unpack(data), fds

    def mount_scratch(self):
        options = f"size={self.scratch_mb}m,nr_inodes=1024,mode=700".encode()
        must(libc.mount(b"tmpfs", SCRATCH.encode(), b"tmpfs", MS_NOSUID_NODEV, options), "mount the scratch directory")
        self.pristine = self.scratch_state()

    def scratch_state(self):
        try:
            s = os.stat(SCRATCH)
            return s.st_ctime_ns, s.st_mtime_ns, s.st_mode, s.st_nlink, s.st_size, tuple(os.listdir(SCRATCH))
        except OSError:
            return None

    def renew_scratch(self):
        """Every program starts on an empty tmpfs; one that nothing has touched is as good as a new one."""
        if self.namespaces and self.scratch_state() != self.pristine:
            must(libc.umount2(SCRATCH.encode(), MNT_DETACH), "unmount the scratch directory")
            self.mount_scratch()

    def start(self, limits, fds):
        try:
            self.renew_scratch()
            if self.namespaces:
                # unshare() refuses a second namespace for children until the first choice is taken back.
                must(libc.setns(self.pidfd, CLONE_NEWPID), "setns")
                must(libc.unshare(CLONE_NEWPID), "unshare")
            pid = os.fork()
        except OSError as e:
            self.pid, self.error = None, str(e).encode()
        else:
            if pid == 0:
                try:
                    child(self, limits, fds)
                finally:
                    os._exit(70)
            self.pid = pid
        for fd in fds:
            os.close(fd)

    def end(self, patient):
        """Kills the child, which is the init of its namespace, so that everything that it started dies too.

        A child whose socket is closed is most likely about to be gone by itself, and how is worth a short wait.
        """
        if self.pid is None:
            self.control.sendall(struct.pack("<iddQ", -1, 0.0, 0.0, 0) + struct.pack("<I", len(self.error)) + self.error)
            return
        gone, status, usage = os.wait4(self.pid, os.WNOHANG)
        for _ in range(100 if patient else 0):
            if gone:
                break
            time.sleep(0.001)
            gone, status, usage = os.wait4(self.pid, os.WNOHANG)
        if not gone:
            os.kill(self.pid, 9)
            _, status, usage = os.wait4(self.pid, 0)
        self.pid = None
        self.control.sendall(struct.pack("<iddQI", status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss, not gone))


def warm_up():
    """Does once what every child would do first: the compiler makes its hundred node types at the first call, tables grow, pages are touched."""
    nonce, source = bytes(16), "import math\n\ndef f(x):\n    return [{x: (x, 1.5, str(x))}]\n"
    space = types.ModuleType("warm").__dict__
    exec(compile(source.encode(), "warm.py", "exec", dont_inherit=True), space)
    for request in (b"A[1]", b"Ef(2)", b"A[]"):
        attempt(space, find(space, "f"), request, 1 << 20)
    assert nonce + struct.pack(">I", 0) and describe(ValueError("x"))


def main():
    zygote = Zygote()
    warm_up()
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 2)
    os.close(null)
    sys.path[:] = [p for p in sys.path if p]
    sys.argv[:] = ["solution.py"]
    # The same program gets the same verdict in every cell.
    random.seed(0)
    gc.disable()
    gc.collect()
    gc.freeze()
    # The children inherit it, and add what only the zygote may do.
    zygote.filter.install()
    zygote.control.sendall(b"ready")
    while True:
        (kind, *limits), fds = zygote.command()
        if kind == b"R":
            zygote.start(limits, fds)
        else:
            zygote.end(kind == b"W")


# ---------------------------------------------------------------- the child


def child(zygote, limits, fds):
    try:
        confine(zygote, limits, fds)
    except BaseException as e:
        send(b"E" + str(e).encode("utf-8", "replace"))
        os._exit(70)
    max_result = zygote.max_result
    zygote = None
    send(b"H")
    gc.enable()
    request = receive()
    nonce, mode, name, code = request[:16], request[16:17], None, None
    (size,) = struct.unpack(">H", request[17:19])
    name, code = request[19 : 19 + size].decode(), request[19 + size :]
    if mode == b"S":
        script(nonce, code)
    else:
        functions(nonce, name, code, max_result)
    os._exit(0)


def confine(zygote, limits, fds):
    """Gives up everything that a program must not have. The order matters: the filter forbids what the steps before it need."""
    os.dup2(fds[0], CHANNEL)
    if len(fds) == 3:
        os.dup2(fds[1], 0)
        os.dup2(fds[2], 1)
    os.setsid()
    must(libc.syscall(SYS_CLOSE_RANGE, LANDLOCK + 1, ctypes.c_uint(0xFFFFFFFF), 0), "close_range")
    if zygote.namespaces:
        os.chdir(SCRATCH)
    memory, file_size, processes, cpu = limits
    for what, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(what, (value, value))
    if zygote.landlock:
        must(libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, LANDLOCK, 0), "landlock_restrict_self")
    os.close(LANDLOCK)
    # Version 3 of the capability header, for this process; two words of each set, all zero.
    header, none = struct.pack("<Ii", 0x20080522, 0), bytes(24)
    must(libc.capset(header, none), "capset")
    # Without a namespace that dies with the zygote, the child has to be told.
    must(libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "PR_SET_PDEATHSIG")
    if not zygote.namespaces and os.getppid() != zygote.own_pid:
        os._exit(70)
    zygote.child_filter.install()


def send(payload, write=os.write, pack=struct.pack):
    data = pack(">I", len(payload)) + payload
    while data:
        data = data[write(CHANNEL, data) :]


def receive_exact(size, read=os.read):
    data = b""
    while len(data) < size:
        part = read(CHANNEL, min(size - len(data), 1 << 20))
        if not part:
            os._exit(0)
        data += part
    return data


def receive():
    (size,) = struct.unpack(">I", receive_exact(4))
    return receive_exact(size)


def describe(error):
    """`type: message`, cut; the message is the program's own code and may itself fail."""
    try:
        text = str(error)[:300]
    except BaseException:
        text = "?"
    return f"{type(error).__name__}: {text}".encode("utf-8", "replace")


def failure(error, kind=b"X"):
    if isinstance(error, MemoryError):
        return b"M"
    return kind + describe(error)


def module(name):
    made = types.ModuleType(name)
    sys.modules["__main__"] = made
    sys.modules[name] = made
    return made.__dict__


def script(nonce, code):
    """A whole program on stdin and stdout: what counts is what it wrote."""
    head = nonce + struct.pack(">I", 0)
    try:
        compiled = compile(code, "solution.py", "exec", dont_inherit=True)
    except BaseException as e:
        send(head + failure(e, b"C"))
        return
    answer = b"D"
    try:
        exec(compiled, module("__main__"))
    except SystemExit as e:
        if e.code not in (None, 0):
            answer = b"X" + describe(e)
    except BaseException as e:
        answer = failure(e)
    try:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as e:
        answer = failure(e)
    send(head + answer)


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
    kind, body = request[:1], request[1:].decode()
    try:
        if kind == b"A":
            value = target(*json.loads(body))
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


CONTAINERS = {list: b"l", tuple: b"t", set: b"S", frozenset: b"Z", dict: b"d"}

main()
