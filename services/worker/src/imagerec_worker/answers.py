"""What is done for every classification and every answer, by way of Flask or not."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from imagerec_worker import request_log
from imagerec_worker.classifier import Prediction
from imagerec_worker.errors import BadParameterError
from imagerec_worker.geometry import Pixels
from imagerec_worker.preprocess import ImageInfo
from imagerec_worker.recognition import TOP, TOP_DEFAULT, TOP_MAX, TOP_WANTED, Recognition, Timing
from imagerec_worker.request_log import Outcome, quoted
from imagerec_worker.service import Service
from imagerec_worker.uploads import read_image

# Of an address that takes a photograph; no other one has any.
PARAMETERS = (TOP,)
Headers = list[tuple[str, str]]


class Classification(NamedTuple):
    """A classified upload."""

    predictions: list[Prediction]
    image: ImageInfo
    timing_ms: Timing


class Begun(NamedTuple):
    """An upload that is ready for the network."""

    recognition: Recognition
    top: int
    pixels: Pixels
    image: ImageInfo


def begin(service: Service, environ: dict[str, Any]) -> Begun:
    """Read and decode the upload of a request; what it raises :func:`classify` raises."""
    recognition = Recognition(service, environ)
    top = _top(environ.get("QUERY_STRING", ""))
    data = read_image(environ, service.settings.max_bytes)
    recognition.end_reading()
    return Begun(recognition, top, *recognition.decode(data))


def classify(service: Service, environ: dict[str, Any]) -> Classification:
    """Classify the upload of a request.

    Raises:
        ProblemError: There is no answer, for a reason that the client may know.
        ClientDisconnected: The body ends too early (Werkzeug's error).
    """
    recognition, top, pixels, image = begin(service, environ)
    _, predictions = recognition.infer(pixels, top)
    return Classification(predictions, image, recognition.finish())


def answer(service: Service, result: Classification) -> tuple[Headers, bytes]:
    """Return the header fields and the body that answer with a classification, without those of :func:`finish`."""
    bundle, (predictions, image, timing_ms) = service.classifier.bundle, result
    # Between inferences json.dumps takes twice as long for this.
    classes = ",".join(
        [
            f'{{"label":{quoted(label)},"wnid":{quoted(wnid)},"probability":{probability}}}'
            for label, wnid, probability in predictions
        ]
    )
    times = ",".join([f'"{phase}":{duration_ms}' for phase, duration_ms in zip(Timing._fields, timing_ms, strict=True)])
    body = (
        f'{{"predictions":[{classes}],"model":{{"name":{quoted(bundle.name)},"version":{quoted(bundle.version)}}},'
        f'"worker":{quoted(service.settings.worker_name)},'
        f'"image":{{"format":"{image.format}","width":{image.width},"height":{image.height}}},'
        f'"timing_ms":{{{times}}}}}\n'
    ).encode("ascii")
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Server-Timing", timing_ms.header()),
    ]
    return headers, body


def finish(service: Service, environ: Mapping[str, Any], outcome: Outcome) -> Headers:
    """Count an answer, write its line in the log and return the header fields that every answer has."""
    settings = service.settings
    identity = request_log.id_of(environ)
    service.metrics.count_answer(outcome.route, outcome.status)
    request_log.write(environ, identity, outcome, settings.worker_name, settings.log_level)
    return [("X-Worker", settings.worker_name), (request_log.HEADER, identity), ("Cache-Control", "no-store")]


def read_parameters(query: str, known: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the parameters of a query, names and values; only those of `known` are allowed.

    Raises:
        BadParameterError: There is another one; the message names the nearest known.
    """
    given = parse_qsl(query.encode("latin-1").decode(errors="replace"), keep_blank_values=True)
    for name, _ in given:
        if name not in known:
            nearest = get_close_matches(name, known, cutoff=0.5)
            only = f"there is only {', '.join(known)}" if known else "this address has none, leave it out"
            likely = f"did you mean {nearest[0]}?" if nearest else only
            raise BadParameterError(f"there is no parameter '{name[:32]}'; {likely}")
    return given


def _top(query: str) -> int:
    given = read_parameters(query, PARAMETERS)
    if not given:
        return TOP_DEFAULT
    if len(given) > 1:
        raise BadParameterError(f"{TOP} is given {len(given)} times; give it once")
    text = given[0][1]
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= TOP_MAX):
        raise BadParameterError(TOP_WANTED)
    return int(text)
