# Whole programs in the warm interpreter.


def show_stdin(code):
    """`/dev/stdin` names a file of the scratch directory, since there is no /proc for it to point into."""
    if b"/dev/stdin" not in code:
        return
    with open(".stdin", "wb") as copy:
        at = 0
        while part := os.pread(0, 1 << 20, at):
            copy.write(part)
            at += len(part)


def run_main(compiled, at_hand):
    """Runs a whole program up to the last flush; raises what it raises."""
    try:
        exec(compiled, module("__main__", at_hand))
    finally:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        atexit._run_exitfuncs()
        if sys.stdout is not None:
            sys.stdout.flush()


def script(nonce, code):
    """A whole program on stdin and stdout: what counts is what it wrote."""
    try:
        compiled = compile(code, "solution.py", "exec", dont_inherit=True)
    except BaseException as e:
        send(nonce + struct.pack(">I", 0) + failure(e, b"C"))
        return
    answer = b"D"
    try:
        show_stdin(code)
        run_main(compiled, True)
    except SystemExit as e:
        if e.code not in (None, 0):
            answer = b"X" + describe(e)
    except BaseException as e:
        answer = failure(e)
    send(nonce + struct.pack(">I", 0) + answer)


def run_as_main(code):
    """A program as the command line would run it: a traceback on stderr, and the exit code says the rest."""
    status = 0
    try:
        show_stdin(code)
        run_main(compile(code, "solution.py", "exec", dont_inherit=True), False)
    except SystemExit as e:
        if isinstance(e.code, int):
            status = e.code
        elif e.code is not None:
            print(e.code, file=sys.stderr)
            status = 1
    except BaseException as e:
        import linecache, traceback

        lines = code.decode("utf-8", "replace").splitlines(True)
        linecache.cache["solution.py"] = (len(code), None, lines, "solution.py")
        # The first frames are the runner's.
        trace = e.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == "<string>":
            trace = trace.tb_next
        traceback.print_exception(type(e), e, trace)
        status = 1
    try:
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)
