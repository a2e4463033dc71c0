"""The plain ``POST /predict``, answered before Flask has made its objects of the request.

Between inferences the caches hold nothing of Python: routing, the request's context and header objects cost half a
millisecond there. Both ways call the same functions of :mod:`imagerec_worker.answers`, and a test holds their answers
against each other. Whatever goes wrong is Flask's again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from imagerec_worker.answers import answer, classify, finish
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
    """

    def __init__(self, service: Service, application: WSGIApplication) -> None:
        self.application = application
        self._service = service

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if environ["PATH_INFO"] == PREDICT and environ["REQUEST_METHOD"] == "POST" and not environ["SCRIPT_NAME"]:
            try:
                headers, body = answer(self._service, classify(self._service, environ))
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


def raise_failure(environ: dict[str, Any]) -> None:
    """Raise what went wrong before Flask, if anything did: the body has been read, it cannot be tried again."""
    if _FAILURE in environ:
        raise environ[_FAILURE]
