"""Plain requests that share a run of the network: each is read, decoded and answered by itself, and errs alone."""

from __future__ import annotations

import io
from typing import Any

from imagerec_worker import answers
from imagerec_worker.answers import Begun, Classification
from imagerec_worker.batch_classifier import BatchClassifier
from imagerec_worker.plain import is_plain
from imagerec_worker.service import Service

_FOUND = "imagerec_worker.classification"


class Batch:
    """Requests that wait for one run of the network; the classifier of the service takes several pictures."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._begun: list[tuple[dict[str, Any], Begun]] = []

    def add(self, environ: dict[str, Any]) -> bool:
        """Read and decode the photograph of a request; what goes wrong is kept for its own answer.

        Returns:
            Whether it is a request for a classification; nothing is done with any other.
        """
        if not is_plain(environ):
            return False
        try:
            self._begun.append((environ, answers.begin(self._service, environ)))
        except BaseException as error:
            environ[_FOUND] = error
        environ["wsgi.input"] = io.BytesIO()  # else the bodies of all would be held until the last is read
        return True

    def run(self) -> None:
        """Run the network; each request finds its classification by :func:`classify` when it is answered."""
        if not self._begun:
            return
        classifier = self._service.classifier
        assert isinstance(classifier, BatchClassifier)
        try:
            for _, begun in self._begun:
                begun.recognition.end_waiting()
            rows = classifier.probabilities_of([begun.pixels for _, begun in self._begun])
            for (environ, begun), probabilities in zip(self._begun, rows, strict=True):
                predictions = begun.recognition.rank(probabilities, begun.top)
                environ[_FOUND] = Classification(predictions, begun.image, begun.recognition.finish())
        except BaseException as error:
            for environ, _ in self._begun:
                environ.setdefault(_FOUND, error)


def classify(service: Service, environ: dict[str, Any]) -> Classification:
    """Return what the request's batch came to; a request without one is classified now.

    Raises:
        BaseException: What went wrong, as from :func:`imagerec_worker.answers.classify`.
    """
    found = environ.pop(_FOUND, None)
    if isinstance(found, BaseException):
        raise found
    return answers.classify(service, environ) if found is None else found
