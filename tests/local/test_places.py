"""`make up` where people put a checkout, as a user of no rights, in a locale that is not there."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml
from PIL import Image
from skimage import data

from tests.conftest import AWKWARD, REPOSITORY, SHARED, free_ports, processes_below

pytestmark = pytest.mark.slow

# What a package index needs; all else is the plain user's own.
KEPT = (
    "PIP_",
    "SSL_CERT",
    "REQUESTS_CA",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "no_proxy",
)


@dataclass(frozen=True, slots=True)
class Checkout:
    """A clean clone with its own environment, and who uses it; without a user it is who runs the tests."""

    folder: Path
    user: str | None
    url: str

    def make(self, target: str, locale: str, *arguments: str) -> str:
        environment = {key: value for key, value in os.environ.items() if key.startswith(KEPT)}
        environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.folder.parent), "LC_ALL": locale}
        done = subprocess.run(
            ["make", target, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            user=self.user,
            group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
            timeout=900,
        )
        assert done.returncode == 0, f"make {target}: {done.stdout[-5000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    """The committed files below an awkward path, in the home of a user who is made for it."""
    home = Path(tempfile.mkdtemp(prefix="place-"))
    user = f"imagerec-{os.getpid()}" if os.geteuid() == 0 else None
    folder = home / AWKWARD / "imagerec"
    try:
        if user is not None:
            subprocess.run(["useradd", "--system", "--home-dir", str(home), "--shell", "/bin/sh", user], check=True)
        subprocess.run(["git", "clone", "--quiet", "--depth=1", REPOSITORY.as_uri(), str(folder)], check=True)
        hosts = folder / "inventory/local/hosts.yml"
        content = yaml.safe_load(hosts.read_text())
        groups = content["all"]["children"]
        port, *others = free_ports(1 + len(groups["workers"]["hosts"]))
        groups["balancers"]["hosts"]["balancer"]["balancer_port"] = port
        for host, other in zip(groups["workers"]["hosts"].values(), others, strict=True):
            host["worker_port"] = other
        hosts.write_text(yaml.safe_dump(content))
        mirror = SHARED / "models"
        if mirror.exists():
            shutil.copytree(mirror, home / "models")
        if user is not None:
            entry = pwd.getpwnam(user)
            for path in (home, *home.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
        yield Checkout(folder, user, f"http://127.0.0.1:{port}")
    finally:
        try:
            shutil.rmtree(home)
        finally:
            if user is not None and user in {entry.pw_name for entry in pwd.getpwall()}:
                subprocess.run(["userdel", user], check=True)


def test_a_deployment_comes_serves_and_goes(checkout: Checkout) -> None:
    assert len(os.fsencode(checkout.folder)) > 100
    models = checkout.folder.parents[1] / "models"
    model = ("MODEL=imagenet", f"MODEL_MIRROR={models}") if models.exists() else ("MODEL=lite0",)
    try:
        checkout.make("up", "C", *model)
        image = io.BytesIO()
        Image.fromarray(data.chelsea()).save(image, "JPEG")
        answer = requests.post(f"{checkout.url}/submit", files={"image": image.getvalue()}, timeout=30).json()
        assert len(answer["predictions"]) == 5
        assert checkout.url in checkout.make("verify", "xx_YY.UTF-8")
    finally:
        checkout.make("down", "xx_YY.UTF-8")
    deadline = time.monotonic() + 60  # what holds the lock for a run ends soon after it
    while processes_below(checkout.folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_below(checkout.folder) == []
    assert not (checkout.folder / ".run").exists()
