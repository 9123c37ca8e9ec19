"""The warm interpreter of a cell, and the child that it forks for each program. Standard library only.

The zygote (`main`) never reads a byte of a program: a program reaches its child over a socket of its own, after the child has given
up its privileges. The child gets one input at a time, and answers with exact-typed data; what is expected never comes here.

Frames on the child's socket: length (u32, big-endian), then the payload.
"""

import _collections_abc
import _sitebuiltins
import _socket
import _thread
import ast
import atexit
import bisect
import builtins
import cmath
import collections
import copy
import ctypes
import datetime
import decimal
import dis
import fractions
import functools
import gc
import heapq
import io
import itertools
import json
import math
import operator
import os
import random
import re
import resource
import signal
import stat
import statistics
import string
import struct
import sys
import time
import types
import typing

CHANNEL, LANDLOCK = 3, 4
COMMAND = struct.Struct("<cQQQQQ")
EXECS = 1
NAMESPACES, HAS_LANDLOCK = 1, 2
CLONE_NEWPID, CLONE_NEWNS = 0x20000000, 0x00020000
MS_NOSUID_NODEV = 2 | 4
PR_SET_PDEATHSIG, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 22, 2
# These three have the same number on every architecture.
SYS_PIDFD_OPEN, SYS_CLOSE_RANGE, SYS_LANDLOCK_RESTRICT_SELF = 434, 436, 446
SCRATCH = "/box/tmp"
MAX_DEPTH = 100
THREAD_STACK = 8 << 20
CLONE_VM, CLONE_FILES = 0x00000100, 0x00000400

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
# Interpreters started with `-S` lack these, and programs end themselves with them.
builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")


def names_at_hand():
    """The builtins, and the names that the graders of APPS and LiveCodeBench import in front of a program.

    They stand where builtins are looked up, so that no name of the program's own is ever hidden, and none of these counts as its own.
    """
    starred = (
        string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, functools, operator, io, sys, json, typing
    )  # fmt: skip
    names = {}
    for source in starred:
        listed = getattr(source, "__all__", None) or [n for n in vars(source) if not n.startswith("_")]
        names.update((n, vars(source)[n]) for n in listed if n in vars(source))
    modules = starred + (time, fractions, decimal, cmath, os)
    names.update((module.__name__, module) for module in modules)
    names.update(Fraction=fractions.Fraction, Decimal=decimal.Decimal)
    names.update(vars(builtins))
    return names


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
        # One byte that carries the doors of the cell's cgroup, if it has one.
        _, self.doors = self.receive(1)
        flags, scratch_mb, own, child = struct.unpack("<IIII", self.read(16))
        self.namespaces = bool(flags & NAMESPACES)
        self.landlock = bool(flags & HAS_LANDLOCK)
        self.filter, self.child_filter = FilterProgram(self.read(own)), FilterProgram(self.read(child))
        self.own_pid, self.pid, self.init = os.getpid(), None, None
        self.error = b""
        if self.namespaces:
            self.pidfd = must(libc.syscall(SYS_PIDFD_OPEN, self.own_pid, 0), "pidfd_open")
            # Signals that have a handler reach even the first process of a namespace.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            libc.clone.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
            self.pause = ctypes.cast(libc.pause, ctypes.c_void_p)
            self.stack = ctypes.create_string_buffer(1 << 16)
            self.stack_end = (ctypes.addressof(self.stack) + len(self.stack)) & ~15
        self.scratch_options = f"size={scratch_mb}m,nr_inodes=4096,mode=700".encode()

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.control.recv(size - len(data))
            if not part:
                os._exit(0)
            data += part
        return data

    def receive(self, size):
        """Bytes and the descriptors that came with them. The supervisor's end of the socket is its life: at its end, so ends the cell."""
        data, ancillary, _, _ = self.control.recvmsg(size, _socket.CMSG_SPACE(16))
        if not data:
            os._exit(0)
        fds = [fd for _, _, body in ancillary for (fd,) in struct.iter_unpack("i", body[: len(body) // 4 * 4])]
        if len(data) < size:
            data += self.read(size - len(data))
        return data, fds

    def command(self):
        data, fds = self.receive(COMMAND.size)
        return COMMAND.unpack(data), fds

    def start(self, limits, fds):
        try:
            if self.pid is not None:
                raise OSError("the last run was not ended")
            if self.namespaces:
                # unshare() refuses a second namespace for children until the first choice is taken back.
                must(libc.setns(self.pidfd, CLONE_NEWPID), "setns")
                must(libc.unshare(CLONE_NEWPID), "unshare")
                if not limits[-1] & EXECS:
                    self.start_init()
            pid = os.fork()
        except OSError as e:
            self.error = str(e).encode()
            self.end_init()
        else:
            if pid == 0:
                try:
                    child(self, limits, fds)
                finally:
                    os._exit(70)
            self.pid = pid
        for fd in fds:
            os.close(fd)

    def start_init(self):
        """The first process of the namespace, so that the program is its second: the kernel drops signals that a first process sends itself.

        It does nothing but wait, in this process's own memory, which costs less than a copy, and with its descriptors, so that it holds no
        end of the child's socket open; no signal from inside reaches it, since it has no handlers, and what it inherits the kernel
        reaps, since it ignores the ends of children.
        """
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        pid = libc.clone(self.pause, self.stack_end, CLONE_VM | CLONE_FILES | signal.SIGCHLD, None)
        signal.signal(signal.SIGCHLD, self.program_ended)
        self.init = must(pid, "clone of the first process")

    def end_init(self):
        """Reaps the first process of the namespace. Only when the program has been reaped: until then it is not gone."""
        if self.init is not None:
            init, self.init = self.init, None
            os.kill(init, 9)
            os.wait4(init, 0)

    def program_ended(self, *_):
        """Ends the namespace with its program: what that left running may hold its socket open, and nobody waits for it."""
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended and self.init is not None:
            os.kill(self.init, 9)

    def end(self, patient):
        """Kills the first process of the child's namespace, so that everything that the child started dies too.

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
        self.end_init()
        self.pid = None
        self.control.sendall(struct.pack("<iddQI", status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss, not gone))


def small_thread_stacks():
    """The C library gives a thread as much stack as the main one may have, which is much here, unless it is told otherwise."""
    if hasattr(libc, "pthread_setattr_default_np"):
        attributes = ctypes.create_string_buffer(256)
        libc.pthread_attr_init(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(THREAD_STACK))
        libc.pthread_setattr_default_np(attributes)


def limit_stack(size):
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (size if most == resource.RLIM_INFINITY else min(size, most), most))


def warm_up():
    """Does once what every child would do first: the compiler makes its hundred node types at the first call, tables grow, pages are touched."""
    nonce, source = bytes(16), "import math\n\ndef f(x):\n    return [{x: (x, 1.5, str(x))}]\n"
    space = types.ModuleType("warm").__dict__
    exec(compile(source.encode(), "warm.py", "exec", dont_inherit=True), space)
    for request in (b"Al\0\0\0\1T", b"Ef(2)", b"Al\0\0\0\0"):
        attempt(space, find(space, "f"), request, 1 << 20)
    assert nonce + struct.pack(">I", 0) and describe(ValueError("x"))
    out = []
    encode([1, ("a", b"b"), {2.0: None, True: {3}}], out, [1000], 0)
    assert decode(b"".join(out)) == [1, ("a", b"b"), {2.0: None, True: {3}}]


def main():
    global AT_HAND
    AT_HAND = names_at_hand()
    zygote = Zygote()
    small_thread_stacks()
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
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        confine(zygote, limits, fds)
    except BaseException as e:
        send(b"E" + str(e).encode("utf-8", "replace"))
        os._exit(70)
    zygote, max_result = None, limits[1]
    send(b"H")
    gc.enable()
    request = receive()
    nonce, mode, name, code = request[:16], request[16:17], None, None
    (size,) = struct.unpack(">H", request[17:19])
    name, code = request[19 : 19 + size].decode(), request[19 + size :]
    if mode == b"S":
        script(nonce, code)
    elif mode == b"R":
        run_as_main(code)
    elif mode == b"X":
        execute(nonce, code)
    elif mode == b"T":
        examine(nonce, name, code)
    else:
        (size,) = struct.unpack(">I", code[:4])
        functions(nonce, name, code[4 : 4 + size], code[4 + size :], max_result)
    os._exit(0)


def confine(zygote, limits, fds):
    """Gives up everything that a program must not have. The order matters: the filter forbids what the steps before it need."""
    os.dup2(fds[0], CHANNEL)
    for number, fd in enumerate(fds[1:]):
        os.dup2(fd, number)
    os.setsid()
    for door in zygote.doors:
        os.write(door, b"0")
    must(libc.syscall(SYS_CLOSE_RANGE, LANDLOCK + 1, ctypes.c_uint(0xFFFFFFFF), 0), "close_range")
    if zygote.namespaces:
        # A mount namespace of its own, so that the scratch directory is new and goes with the last process.
        must(libc.unshare(CLONE_NEWNS), "unshare of the mounts")
        target, kind = SCRATCH.encode(), b"tmpfs"
        must(libc.mount(kind, target, kind, MS_NOSUID_NODEV, zygote.scratch_options), "mount of the scratch directory")
        os.chdir(SCRATCH)
    memory, file_size, processes, cpu, flags = limits
    # The first process of the namespace is one of the user's too.
    processes += zygote.init is not None
    for what, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_NOFILE, 256 if flags & EXECS else 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_RTPRIO, 0),
        (resource.RLIMIT_NICE, 0),
    ):
        # These two are set when a program of another language is executed: this process is still the interpreter, and writes its files.
        if not (flags & EXECS and what in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE)):
            resource.setrlimit(what, (value, value))
    limit_stack(memory)
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


def describe(error, longest=300):
    """`type: message`, cut; the message is the program's own code and may itself fail."""
    try:
        text = str(error)[:longest]
    except BaseException:
        text = "?"
    return f"{type(error).__name__}: {text}".encode("utf-8", "replace")


def failure(error, kind=b"X"):
    if isinstance(error, MemoryError):
        return b"M"
    return kind + describe(error)


def module(name, at_hand=True):
    made = types.ModuleType(name)
    made.__file__ = "solution.py"
    if at_hand:
        made.__builtins__ = AT_HAND
    sys.modules["__main__"] = made
    sys.modules[name] = made
    return made.__dict__
