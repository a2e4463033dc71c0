"""`python -m imagerec_pool pool.json`: watch the pool until told to end (TERM), or begin anew (HUP).

On HUP the program is replaced by what its path leads to now, with the file of settings as it is now. A HUP that comes
while it starts or while it is being replaced waits until it is watched for.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":  # who imports it keeps its own mask, and so do the processes that it starts
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from imagerec_pool.agent import Agent
from imagerec_pool.settings import Settings, SettingsError, read_settings
from imagerec_pool.web import create_app

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# Until there is news of every worker nginx asks one itself, which knows better. A slow one is not waited for.
_BEGIN_S = 3.0


def main(arguments: list[str]) -> int:
    """Run the agent; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("error: give one argument, the path of pool.json\n")
        return 2
    try:
        settings = read_settings(Path(arguments[0]))
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if asyncio.run(run(settings)) == signal.SIGHUP:
        os.execvp(sys.orig_argv[0], sys.orig_argv)  # noqa: S606  our own command
    return 0


async def run(settings: Settings) -> signal.Signals:
    """Watch and answer; return the signal that ended it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[signal.Signals] = loop.create_future()
    received: set[signal.Signals] = set()

    def end(number: signal.Signals) -> None:
        received.add(number)
        if not ended.done():
            ended.set_result(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, end, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    agent = Agent(settings)
    watching = loop.create_task(agent.run())
    watching.add_done_callback(lambda task: None if task.cancelled() else end(signal.SIGTERM))
    app = create_app(agent, settings.autoscaler, settings.prometheus)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    settings.socket.unlink(missing_ok=True)
    begun: asyncio.Future[Any] = loop.create_task(agent.begun.wait())
    await asyncio.wait([begun, ended], timeout=_BEGIN_S, return_when=asyncio.FIRST_COMPLETED)
    begun.cancel()
    if not ended.done():
        await web.UnixSite(runner, str(settings.socket)).start()
        settings.socket.chmod(0o666)  # nginx asks as its own user; what is told is public
    reason = await ended
    # What comes from now on waits, also for the program that this one becomes.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    await runner.cleanup()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return reason if received <= {signal.SIGHUP} else signal.SIGTERM  # TERM counts also while it begins anew


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
