"""The process that started this one, which holds the other end of standard input."""

import asyncio
import sys


async def end_of_input() -> None:
    """Wait until standard input, a pipe, closes: it does when the parent ends, however it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(65536):
        pass
