//! Coroutines of the program's that a test awaits run in the program's process, all that the test waits for at the same time.

use crate::support::tells_apart;

#[test]
fn coroutines_async_iterators_and_async_with() {
    for (right, wrong, test) in [
        (
            "import asyncio\nasync def f(x):\n    await asyncio.sleep(0.01)\n    return x*2",
            "async def f(x): return x",
            "import asyncio\nassert asyncio.run(f(2))==4",
        ),
        (
            "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x*2",
            "async def f(x): return x",
            "import asyncio\nasync def main():\n    r=await asyncio.gather(*[f(i) for i in range(3)])\n    assert r==[0,2,4]\nasyncio.run(main())",
        ),
        (
            "import asyncio\nasync def agen(n):\n    for i in range(n):\n        await asyncio.sleep(0)\n        yield i",
            "async def agen(n):\n    for i in range(n+1): yield i",
            "import asyncio\nasync def main(): return [x async for x in agen(3)]\nassert asyncio.run(main())==[0,1,2]",
        ),
        (
            "class C:\n    async def __aenter__(s): s.o=True; return s\n    async def __aexit__(s,*a): s.o=False",
            "class C:\n    async def __aenter__(s): s.o=True; return s\n    async def __aexit__(s,*a): pass",
            "import asyncio\nasync def main():\n    async with C() as c:\n        assert c.o is True\n    assert c.o is False\nasyncio.run(main())",
        ),
        (
            "import asyncio\nasync def f(n):\n    q=asyncio.Queue()\n    async def prod():\n        for i in range(n): await q.put(i)\n        await q.put(None)\n    async def cons():\n        r=[]\n        while (x:=await q.get()) is not None: r.append(x)\n        return r\n    _,r=await asyncio.gather(prod(),cons())\n    return r",
            "async def f(n): return []",
            "import asyncio\nloop=asyncio.new_event_loop()\nassert loop.run_until_complete(f(3))==[0,1,2]",
        ),
        (
            "import asyncio\nclass Ev:\n    def __init__(s): s.e=asyncio.Event()\n    async def wait(s): await s.e.wait(); return 5\n    async def set(s): s.e.set()",
            "import asyncio\nclass Ev:\n    def __init__(s): s.e=asyncio.Event()\n    async def wait(s): await s.e.wait(); return 6\n    async def set(s): s.e.set()",
            "import asyncio\nasync def main():\n    e=Ev()\n    r,_=await asyncio.gather(e.wait(),e.set())\n    assert r==5\nasyncio.run(main())",
        ),
        (
            "async def f(x):\n    if x<0: raise ValueError\n    return x",
            "async def f(x): return x",
            "import asyncio\nasync def main():\n    try:\n        await f(-1)\n        assert False\n    except ValueError: pass\nasyncio.run(main())",
        ),
        (
            "import asyncio\nasync def f():\n    await asyncio.sleep(2)",
            "async def f(): pass",
            "import asyncio\nasync def main():\n    try:\n        await asyncio.wait_for(f(),0.02)\n        assert False\n    except asyncio.TimeoutError: pass\nasyncio.run(main())",
        ),
    ] {
        tells_apart(right, wrong, test);
    }
}
