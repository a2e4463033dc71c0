"""What the views of one application share."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from imagerec_worker.classifier import Classifier
from imagerec_worker.errors import DrainingError
from imagerec_worker.metrics import Metrics
from imagerec_worker.settings import Settings

EXTENSION = "imagerec_worker"


@dataclass(frozen=True, slots=True)
class Service:
    """Settings, version of the distribution, classifier and metrics of an application."""

    settings: Settings
    version: str
    classifier: Classifier
    metrics: Metrics


def service_of(application: object) -> Service | None:
    """Return the service of an application; None for one that has none."""
    service = getattr(application, "extensions", {}).get(EXTENSION)
    return service if isinstance(service, Service) else None


def current_service() -> Service:
    """Return the service of the application that handles the present request."""
    service = current_app.extensions[EXTENSION]
    assert isinstance(service, Service)
    return service


def check_ready() -> None:
    """Return when new work is welcome here.

    Raises:
        DrainingError: It is not.
    """
    drain_file = current_service().settings.drain_file
    if drain_file is not None and drain_file.exists():
        raise DrainingError("this worker is being taken out of service; ask another one")
