"""`python -m imagerec_autoscaler autoscaler.json`: decide until told to end (TERM), or begin anew (HUP).

On HUP the program is replaced by what its path leads to now, with the file of settings as it is now.
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

from aiohttp import web

from imagerec_autoscaler.controller import Controller
from imagerec_autoscaler.settings import Settings, SettingsError, read_settings
from imagerec_autoscaler.standby import Standby
from imagerec_autoscaler.web import create_app

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def main(arguments: list[str]) -> int:
    """Run the controller; return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("error: give one argument, the path of autoscaler.json\n")
        return 2
    try:
        settings = read_settings(Path(arguments[0]))
        ended = asyncio.run(run(settings))
    except (SettingsError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if ended == signal.SIGHUP:
        os.execvp(sys.orig_argv[0], sys.orig_argv)  # noqa: S606  our own command
    return 0


async def run(settings: Settings) -> signal.Signals:
    """Decide and answer; return the signal that ended it."""
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
    serving = loop.create_task(serve(settings))
    serving.add_done_callback(lambda task: None if task.cancelled() else end(signal.SIGTERM))
    reason = await ended
    # What comes from now on waits, also for the program that this one becomes.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    return reason if received <= {signal.SIGHUP} else signal.SIGTERM  # TERM counts also while it begins anew


async def serve(settings: Settings) -> None:
    """Decide and answer until cancelled, once no other program does it for this balancer."""
    standby = Standby(settings.standby)
    said = False
    while not standby.lock():
        if not said:
            sys.stdout.write('{"notice": "another autoscaler decides for this balancer; this one waits"}\n')
            sys.stdout.flush()
            said = True
        await asyncio.sleep(1)
    controller = Controller(settings, standby)
    runner = web.AppRunner(create_app(controller), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        settings.socket.unlink(missing_ok=True)
        await web.UnixSite(runner, str(settings.socket)).start()
        settings.socket.chmod(0o666)  # nginx asks as its own user; what is told is public
        await controller.run()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
