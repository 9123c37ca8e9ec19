# Coroutines of the program's that its tests await.


class Loop:
    """The event loop of the program, which goes on while a test waits for what runs in it."""

    loop, tasks = None, {}


def advance(subject, patience=0.005):
    """Runs the program's loop until the awaited is done, or for a moment: the value alone in a tuple, or an empty one where the test should ask again.

    All that the test waits for at the same time goes on here at the same time.
    """
    import asyncio

    if Loop.loop is None:
        Loop.loop = asyncio.new_event_loop()
    if id(subject) not in Loop.tasks:
        # The awaited is kept with its task, so that its id stays its own.
        Loop.tasks[id(subject)] = Loop.loop.create_task(awaiting(subject)), subject
    task, _ = Loop.tasks[id(subject)]
    Loop.loop.run_until_complete(asyncio.wait([task], timeout=patience))
    if not task.done():
        return ()
    del Loop.tasks[id(subject)]
    return (task.result(),)


async def awaiting(subject):
    return await subject
