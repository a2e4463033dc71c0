"""The body of a request, encoded once and sent many times."""

from dataclasses import dataclass

_BOUNDARY = "imagerec-loadtest-7d1f6c0e5b"


@dataclass(frozen=True, slots=True)
class Payload:
    """A request body, encoded once and sent many times.

    Attributes:
        key: Name of the picture in the samples, such as `224px`.
        body: The bytes to send.
        content_type: Their type.
    """

    key: str
    body: bytes
    content_type: str


def encode(key: str, image: bytes, media_type: str, *, multipart: bool) -> Payload:
    """Make the request body of an image: a multipart form as a browser sends it, or the raw image."""
    if not multipart:
        return Payload(key, image, media_type)
    head = (
        f"--{_BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="image"; filename="{key}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    body = head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return Payload(key, body, f"multipart/form-data; boundary={_BOUNDARY}")
