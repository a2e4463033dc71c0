"""When nginx is told to read its list again, and how its clients are parted with before."""

from __future__ import annotations

from collections.abc import Callable

from imagerec_pool.nginx import Nginx

# nginx starts new processes with each reload, so it is told once a second at most; after that it has a moment to do it.
_AGAIN_S, _SETTLE_S = 1.0, 2.0
# A reload ends the connections that clients keep, also one on which a request is on its way. So for a moment before it
# each answer is the last one of its connection, until the new processes serve.
_PART_S, _SERVE_S = 0.3, 0.5


class Reload:
    """Tells nginx to reload.

    Args:
        nginx: The files and the process.
        notice: Says what is wrong with something, once for as long as it is; None when it is no longer.
    """

    def __init__(self, nginx: Nginx, notice: Callable[[str, str | None], None]) -> None:
        self._nginx = nginx
        self._notice = notice
        self._due = True  # an earlier run may have written the list and ended before it told nginx
        self._urgent = False
        self._told_s = 0.0
        self._parting_s: float | None = None
        self._absent = False

    def ask(self, *, urgent: bool) -> None:
        """Ask for a reload; one that is urgent does not wait for clients."""
        self._due = True
        self._urgent |= urgent

    def settled(self, now_s: float) -> bool:
        """Return whether nginx has had the time to follow what it was told, or will read it when it starts."""
        return (not self._due or self._absent) and now_s - self._told_s >= _SETTLE_S

    def look(self, now_s: float) -> bool:
        """Tell nginx where that is due, and again each second until the signal has arrived; return whether it has."""
        self._nginx.tidy()
        since_s = now_s - self._told_s
        if not self._due:
            if self._parting_s is not None and since_s >= _SERVE_S:
                self._part(None)
            return False
        if since_s < _AGAIN_S or not (self._urgent or self._parted(now_s)):
            return False
        self._told_s = now_s
        try:
            arrived = self._nginx.reload()
        except OSError as error:
            self._notice("reload", f"nginx cannot be told to reload ({error}); tried again until it can")
            return False
        self._notice("reload", None)
        self._absent = not arrived
        if arrived:
            self._due = self._urgent = False
        return arrived

    def _parted(self, now_s: float) -> bool:
        if self._parting_s is None:
            self._part(now_s)
        return self._parting_s is None or now_s - self._parting_s >= _PART_S

    def _part(self, since_s: float | None) -> None:
        try:
            self._nginx.part(wanted=since_s is not None)
        except OSError as error:
            self._notice("part", f"clients cannot be parted with before a reload ({error}); nginx is told at once")
            self._parting_s = None
            return
        self._notice("part", None)
        self._parting_s = since_s
