"""Errors of the HTTP contract: each class knows its status, its type and how it is written (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

_RETRY_AFTER_S = 1


class ProblemError(Exception):
    """An answer that is not a success. A kind of it is a class, made with its status and its title.

    Attributes:
        status: HTTP status.
        title: Summary, the same for every occurrence.
        slug: Last part of the problem's type, ``/problems/<slug>``: the title's words with dashes.
        detail: What is wrong this time and what to do, for people.
        headers: Header fields that the answer needs besides.
    """

    status: ClassVar[int]
    title: ClassVar[str]
    slug: ClassVar[str]

    def __init_subclass__(cls, *, status: int, title: str) -> None:
        super().__init_subclass__()
        cls.status, cls.title, cls.slug = status, title, title.lower().replace(" ", "-")

    def __init__(self, detail: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers

    def document(self) -> dict[str, Any]:
        """Return the members of the problem document, without ``instance`` and ``worker``."""
        return {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


class NoImageError(ProblemError, status=400, title="No image"):
    """The request holds no image."""


class BadFormError(ProblemError, status=400, title="Bad form"):
    """The form cannot be read."""


class BadParameterError(ProblemError, status=400, title="Bad parameter"):
    """A parameter has a value that is not allowed."""


class NotFoundError(ProblemError, status=404, title="Not found"):
    """The path does not exist."""


class MethodNotAllowedError(ProblemError, status=405, title="Method not allowed"):
    """The path exists, the method does not."""


class TooLargeError(ProblemError, status=413, title="Too large"):
    """The request has too many bytes or parts, or the image too many pixels, blocks or scans, or costs too much."""


class UnsupportedFormatError(ProblemError, status=415, title="Unsupported format"):
    """The bytes are not an image of an accepted format."""


class BrokenImageError(ProblemError, status=422, title="Broken image"):
    """The image has an accepted format but cannot be decoded whole."""


class BusyError(ProblemError, status=429, title="Busy"):
    """The worker has no time for the request now.

    Args:
        why: What takes its time.
        remedy: What the client may do, before it is said when.
    """

    def __init__(self, why: str, remedy: str = "try again") -> None:
        super().__init__(f"{why}; {remedy} in {_RETRY_AFTER_S} s", {"Retry-After": str(_RETRY_AFTER_S)})


class DrainingError(ProblemError, status=503, title="Draining"):
    """The worker takes no new work."""


PROBLEMS = tuple(ProblemError.__subclasses__())
