"""One HTTP request at a time, and the connection that it goes over."""

import asyncio
import io
import json
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from loadtest.errors import LoadtestError
from loadtest.generate.answers import Reply, reply_of
from loadtest.generate.payload import Payload

_ASYNC_BODY_BYTES = 1 << 20
_SOON_S = 2.0


def _is_address(target: str) -> bool:
    """Whether there is a host and, at most, a port; an IPv6 address needs its brackets."""
    try:
        parts = urlsplit(target)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


class Client:
    """Sends images to one service over connections that are kept open.

    Args:
        target: Address of the service, such as `http://127.0.0.1:8080`.
        timeout_s: A request without its last byte after so long has failed.
        keep_alive: Keep connections; otherwise each request opens its own, as the original's did.
        want_answer: Read the predictions, not only the time they took.
        path: Where images are sent to.
        verify: Whether the certificate of an `https` target must be one that this machine trusts.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float = 60.0,
        keep_alive: bool = True,
        want_answer: bool = False,
        path: str = "/predict",
        verify: bool = True,
    ) -> None:
        if not _is_address(target):
            raise LoadtestError(
                f"the target {target!r} is no address; give one such as http://127.0.0.1:8080 or http://[::1]:8080"
            )
        self._target = target.rstrip("/")
        self._url = f"{self._target}{path}"
        self._want_answer = want_answer
        self._timeout_s = timeout_s
        # limit=0: a limit here would queue requests out of the recorder's sight
        connector = aiohttp.TCPConnector(limit=0, force_close=not keep_alive, ttl_dns_cache=None, ssl=verify)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def __aenter__(self) -> "Client":
        """Use the client's connections within a block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._session.close()

    async def predict(self, payload: Payload) -> Reply:
        """Send one image; a failure is a reply too, never an exception."""
        body = payload.body
        # aiohttp writes a large bytes object in one step, which would hold up every other request
        data: Any = body if len(body) < _ASYNC_BODY_BYTES else io.BytesIO(body)
        try:
            async with self._session.post(
                self._url, data=data, headers={"Content-Type": payload.content_type}
            ) as response:
                content = await response.read()
                return reply_of(response, content, want_answer=self._want_answer)
        except TimeoutError:
            return Reply(None, "timeout")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Reply(None, _reason(error))

    async def describe(self) -> dict[str, Any]:
        """Ask the service who it is.

        Returns:
            `{"version": …, "status": …}`: the answers of /version, and of /status or None where there is no balancer.

        Raises:
            LoadtestError: The target is down or is another service.
        """
        version = await self._get_json("/version")
        if version is None or version.get("service") != "imagerec-worker" or "model" not in version:
            raise LoadtestError(
                f"{self._target} answers, but not as an image-recognition service: its /version does not name "
                "imagerec-worker. Check the address and the port"
            )
        return {"version": version, "status": await self._get_json("/status")}

    async def autoscaler(self) -> dict[str, Any] | None:
        """Ask the service's autoscaler how many workers serve; None where there is none, or it does not answer now."""
        try:
            async with self._session.get(
                self._target + "/autoscaler", timeout=aiohttp.ClientTimeout(total=_SOON_S)
            ) as response:
                told = await response.json() if response.status == 200 else None
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return None
        return told if isinstance(told, dict) and told.get("on") else None

    async def _get_json(self, path: str) -> dict[str, Any] | None:
        try:
            async with self._session.get(
                self._target + path, timeout=aiohttp.ClientTimeout(total=min(10.0, self._timeout_s))
            ) as response:
                text = await response.text(errors="replace")
                if response.status in {502, 503}:
                    raise LoadtestError(
                        f"{self._target}{path} answers {response.status}: the balancer runs but no worker does. "
                        "Start the workers, then try again"
                    )
                value = json.loads(text) if response.status == 200 else None
        except ValueError:
            return None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise LoadtestError(
                f"the target {self._target} does not answer ({_reason(error)}). "
                "Start it (`make up` for this machine), or correct --target"
            ) from error
        return value if isinstance(value, dict) else None


def _reason(error: BaseException) -> str:
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or 'address unknown'}"[:80]
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "disconnected"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:80]
    return type(error).__name__
