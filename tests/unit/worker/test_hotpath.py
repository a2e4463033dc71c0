"""The measuring tool of the hot path: it runs, and tells one checkout from another."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imagerec_worker.bundle import Bundle
from tests.conftest import REPOSITORY

TOOL = REPOSITORY / "tools/hotpath.py"


@pytest.mark.long
def test_each_checkout_gets_a_line(colours: Bundle, chelsea: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    buffer = io.BytesIO()
    Image.fromarray(chelsea).save(buffer, "JPEG")
    (photographs / "cat.jpg").write_bytes(buffer.getvalue())
    (tmp_path / "other").symlink_to(REPOSITORY)
    command = [sys.executable, str(TOOL), str(colours.path), str(photographs), str(REPOSITORY), str(tmp_path / "other")]
    done = subprocess.run([*command, "--rounds", "3", "--each", "2"], capture_output=True, text=True, check=True)
    number = r"-?\d+\.\d{3} \[-?\d+\.\d{3}, -?\d+\.\d{3}\]"
    lines = done.stdout.splitlines()
    assert re.fullmatch(f"decode and inference: {number} ms of CPU a photograph", lines[0])
    for line, checkout in zip(lines[1:], (REPOSITORY, tmp_path / "other"), strict=True):
        assert re.fullmatch(f"{checkout}: {number} ms beyond; {number} of all that {REPOSITORY} takes", line)


@pytest.mark.long
def test_what_is_no_bundle_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    command = [sys.executable, str(TOOL), str(tmp_path / "none"), str(tmp_path), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path / 'none'} does not exist" in done.stderr
