"""The application factory: settings and bundle in, a Flask application out."""

from __future__ import annotations

from importlib.metadata import version

import cv2
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound

from imagerec_worker import batching, v2_views
from imagerec_worker.answers import PARAMETERS, classify, finish, read_parameters
from imagerec_worker.batch_classifier import BatchClassifier
from imagerec_worker.bundle import load_bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.errors import MethodNotAllowedError, NotFoundError, ProblemError
from imagerec_worker.metrics import Metrics
from imagerec_worker.plain import PlainPredict
from imagerec_worker.preprocess import warm_up
from imagerec_worker.request_log import Outcome
from imagerec_worker.service import EXTENSION, Service, current_service
from imagerec_worker.settings import Settings
from imagerec_worker.views import UPLOADS, blueprint, problem_response


def create_app(settings: Settings | None = None) -> Flask:
    """Return an application that serves the bundle which ``settings`` names; None reads the environment.

    The bundle is verified, the model loaded and run once before this returns.

    Raises:
        SettingsError: The environment does not make valid settings.
        BundleError: The bundle is missing, damaged or contradicts itself.
    """
    settings = Settings.from_environment() if settings is None else settings
    cv2.setNumThreads(1)  # there is a process for every core already
    bundle = load_bundle(settings.bundle)
    warm_up(bundle.input_size)
    batches = settings.batch_max > 1
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # else two slashes are redirected, by a page and to a port that may be another's
    app.json.sort_keys = False  # type: ignore[attr-defined]
    service = Service(
        settings=settings,
        version=version("imagerec-worker"),
        classifier=BatchClassifier(bundle, settings.batch_max) if batches else Classifier(bundle),
        metrics=Metrics(bundle, settings.worker_name),
    )
    app.extensions[EXTENSION] = service
    app.wsgi_app = PlainPredict(service, app.wsgi_app, batching.classify if batches else classify)  # type: ignore[method-assign]
    app.register_blueprint(blueprint)
    app.register_blueprint(v2_views.blueprint)
    app.register_error_handler(ProblemError, problem_response)
    app.register_error_handler(HTTPException, _http_exception_response)
    app.before_request(_check_parameters)
    app.after_request(_finish)
    return app


def _http_exception_response(error: HTTPException) -> Response:
    """Answer what Flask and Werkzeug raise in the shape of every other problem."""
    if isinstance(error, NotFound):
        return problem_response(NotFoundError(f"there is nothing at {request.path}"))
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return problem_response(MethodNotAllowedError(f"{request.path} answers {allowed} only", {"Allow": allowed}))
    if isinstance(error, InternalServerError):
        error.description = "the worker failed; its log says why"
    return problem_response(error)


def _check_parameters() -> None:
    """Refuse a parameter that the address does not know, before anything is done."""
    rule = request.url_rule
    if rule is not None and request.method != "OPTIONS":
        read_parameters(request.environ.get("QUERY_STRING", ""), PARAMETERS if rule.rule in UPLOADS else ())


def _finish(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule is not None else "unknown"
    length = response.headers.get("Content-Length", type=int)
    outcome = Outcome(route, response.status_code, length)
    response.headers.extend(finish(current_service(), request.environ, outcome))
    return response
