"""The plain ``POST /predict``, answered before Flask has made its objects of the request.

Between inferences the caches hold nothing of Python: routing, the request's context and header objects cost half a
millisecond there. Both ways call the same functions of :mod:`imagerec_worker.answers`, and a test holds their answers
against each other. Whatever goes wrong is Flask's again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.sansio.utils import get_content_length

from imagerec_worker import offload
from imagerec_worker.answers import Classification, answer, classify, finish
from imagerec_worker.plain_http import MOST_BODY_BYTES
from imagerec_worker.request_log import Outcome
from imagerec_worker.service import Service

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

PREDICT = "/predict"
_FAILURE = "imagerec_worker.failure"


class PlainPredict:
    """A WSGI application around that of Flask.

    Args:
        service: What the views share.
        application: Flask's WSGI application; its view must call :func:`raise_failure`.
        classification: Classifies the upload of a request.
    """

    def __init__(
        self,
        service: Service,
        application: WSGIApplication,
        classification: Callable[[Service, dict[str, Any]], Classification] = classify,
    ) -> None:
        self.application = application
        self._service = service
        self._classify = classification

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request; one whose body has not been read since it is large, in a child."""
        if (get_content_length(environ.get("CONTENT_LENGTH")) or 0) > MOST_BODY_BYTES:
            offload.hand_over()
        if is_plain(environ):
            try:
                headers, body = answer(self._service, self._classify(self._service, environ))
                headers += finish(self._service, environ, Outcome(PREDICT, 200, len(body)))
            except Exception as error:  # its place in the log and in the answer is Flask's matter
                environ[_FAILURE] = error
            else:
                start_response("200 OK", headers)
                return [body]
        try:
            return self.application(environ, start_response)
        finally:
            environ.pop(_FAILURE, None)  # its traceback holds the body, and this environment would hold both


def is_plain(environ: dict[str, Any]) -> bool:
    """Return whether a request is for a classification that needs nothing of Flask."""
    return bool(environ["PATH_INFO"] == PREDICT and environ["REQUEST_METHOD"] == "POST" and not environ["SCRIPT_NAME"])


def raise_failure(environ: dict[str, Any]) -> None:
    """Raise what went wrong before Flask, if anything did: the body has been read, it cannot be tried again."""
    if _FAILURE in environ:
        raise environ[_FAILURE]
