"""The peer FastAPI: `uvicorn bench.peers.fastapi_peer:app`.

`/predict` takes the file of a form by `UploadFile`, as its manual shows it; `/raw` takes the raw photograph. Both are
plain functions, which FastAPI runs in its pool of threads, because the network blocks.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, FastAPI, UploadFile

from bench.peers.recogniser import Recogniser

app = FastAPI()
recognise = Recogniser()


@app.post("/predict")
def predict(image: UploadFile) -> dict[str, Any]:
    """Recognise the file of a form."""
    return recognise(image.file.read())


@app.post("/raw")
def raw(photograph: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    """Recognise the body."""
    return recognise(photograph)
