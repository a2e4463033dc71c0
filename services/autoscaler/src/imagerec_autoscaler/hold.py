"""How many workers serve while an experiment runs, and that this ends with it, however it ends."""

from __future__ import annotations

import errno
import socket

from imagerec_autoscaler.settings import Settings

# A run whose channel to this host broke opens it again within seconds.
_GONE_S = 30.0


class Hold:
    """Returns the settings of now: those of the hold for as long as the run that wrote it has this host's lock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holds = bool(settings.hold)
        self._seen_s: float | None = None

    def look(self, now_s: float) -> Settings:
        """Look whether the run lives; `now_s` is the time of any clock that only goes forward."""
        if not self._holds:
            return self._settings
        if self._seen_s is None or _is_held(str(self._settings.hold["lock"])):
            self._seen_s = now_s
        self._holds = now_s - self._seen_s <= _GONE_S
        return self._settings.held if self._holds else self._settings


def _is_held(lock: str) -> bool:
    """Return whether a process has a lock, which is the name of a socket (playbooks/lock/holder.py)."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.setblocking(False)
        return asked.connect_ex(f"\0{lock}") in {0, errno.EAGAIN}  # one whom many ask at a time
