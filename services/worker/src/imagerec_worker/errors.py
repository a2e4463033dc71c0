"""Errors of the HTTP contract: each class knows its status, its type and how it is written (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class ProblemError(Exception):
    """An answer that is not a success.

    Attributes:
        status: HTTP status.
        slug: Last part of the problem's type, ``/problems/<slug>``.
        title: Summary, the same for every occurrence.
        detail: What is wrong this time and what to do, for people.
        headers: Header fields that the answer needs besides.
    """

    status: ClassVar[int]
    slug: ClassVar[str]
    title: ClassVar[str]

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


class NoImageError(ProblemError):
    """The request holds no image."""

    status = 400
    slug = "no-image"
    title = "No image"


class BadFormError(ProblemError):
    """The form cannot be read."""

    status = 400
    slug = "bad-form"
    title = "Bad form"


class BadParameterError(ProblemError):
    """A parameter has a value that is not allowed."""

    status = 400
    slug = "bad-parameter"
    title = "Bad parameter"


class NotFoundError(ProblemError):
    """The path does not exist."""

    status = 404
    slug = "not-found"
    title = "Not found"


class MethodNotAllowedError(ProblemError):
    """The path exists, the method does not."""

    status = 405
    slug = "method-not-allowed"
    title = "Method not allowed"


class TooLargeError(ProblemError):
    """The request has too many bytes or parts, or the image too many pixels, blocks or scans, or costs too much."""

    status = 413
    slug = "too-large"
    title = "Too large"


class UnsupportedFormatError(ProblemError):
    """The bytes are not an image of an accepted format."""

    status = 415
    slug = "unsupported-format"
    title = "Unsupported format"


class BrokenImageError(ProblemError):
    """The image has an accepted format but cannot be decoded whole."""

    status = 422
    slug = "broken-image"
    title = "Broken image"


class BusyError(ProblemError):
    """The request has waited longer than the worker's budget."""

    status = 429
    slug = "busy"
    title = "Busy"


class DrainingError(ProblemError):
    """The worker takes no new work."""

    status = 503
    slug = "draining"
    title = "Draining"


PROBLEMS: tuple[type[ProblemError], ...] = (
    NoImageError,
    BadFormError,
    BadParameterError,
    NotFoundError,
    MethodNotAllowedError,
    TooLargeError,
    UnsupportedFormatError,
    BrokenImageError,
    BusyError,
    DrainingError,
)
