"""A pinned file comes whole and right from one of its places, or not at all: against a real HTTP server."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imagerec_model.download import PinnedFile, fetch
from imagerec_model.errors import DownloadError
from tests.conftest import free_ports

CONTENT = bytes(range(256)) * 700


@dataclass
class Site:
    """A web site on the loopback interface: path → content, and how it misbehaves."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    says_length: int | None = None
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    here = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append(self.path)
            content = here.files.get(self.path.lstrip("/"))
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(here.says_length or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield here
        server.shutdown()
        thread.join()


def pinned(url: str) -> PinnedFile:
    return PinnedFile("model.bin", url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def test_the_public_address_is_read(site: Site) -> None:
    site.files["public/model.bin"] = CONTENT
    assert fetch(pinned(site.url("public/model.bin"))) == CONTENT


@pytest.mark.parametrize("where", ["", "mobilenet/"], ids=["itself", "one-folder-down"])
def test_a_folder_is_a_mirror_and_spares_the_public_address(site: Site, tmp_path: Path, where: str) -> None:
    (tmp_path / where).mkdir(exist_ok=True)
    (tmp_path / where / "model.bin").write_bytes(CONTENT)
    assert fetch(pinned(site.url("public/model.bin")), str(tmp_path)) == CONTENT
    assert site.asked == []


@pytest.mark.parametrize("slash", ["", "/"], ids=["plain", "with-slash"])
def test_a_url_is_a_mirror(site: Site, slash: str) -> None:
    site.files["mirror/model.bin"] = CONTENT
    assert fetch(pinned(site.url("public/model.bin")), site.url("mirror") + slash) == CONTENT
    assert site.asked == ["/mirror/model.bin"]


@pytest.mark.parametrize("mirror", ["missing", "empty", "damaged", "url"])
def test_a_mirror_that_has_it_not_is_passed_over(site: Site, tmp_path: Path, mirror: str) -> None:
    site.files["public/model.bin"] = CONTENT
    folder = tmp_path / mirror
    if mirror != "missing":
        folder.mkdir()
    if mirror == "damaged":
        (folder / "model.bin").write_bytes(CONTENT[:-1] + b"x")
    place = site.url("nowhere") if mirror == "url" else str(folder)
    assert fetch(pinned(site.url("public/model.bin")), place) == CONTENT


def test_offline_never_asks_the_public_address(site: Site, tmp_path: Path) -> None:
    site.files["public/model.bin"] = CONTENT
    with pytest.raises(DownloadError, match="offline, and no mirror is set"):
        fetch(pinned(site.url("public/model.bin")), offline=True)
    with pytest.raises(DownloadError, match="neither in it nor one folder down"):
        fetch(pinned(site.url("public/model.bin")), str(tmp_path), offline=True)
    assert site.asked == []


def test_every_place_is_named_with_its_reason_and_the_remedy(site: Site, tmp_path: Path) -> None:
    url = site.url("public/model.bin")
    with pytest.raises(DownloadError) as refusal:
        fetch(pinned(url), str(tmp_path / "none"))
    message = str(refusal.value)
    assert message.startswith("model.bin could not be had (")
    assert f"mirror {tmp_path / 'none'}: there is no such folder; {url}: HTTP 404" in message
    assert f"Put the file from {url} into a folder" in message
    assert "MODEL_MIRROR=FOLDER" in message
    assert "MODEL=lite0" in message
    assert refusal.value.exit_code == 3


def other_content(site: Site) -> None:
    site.files["model.bin"] = CONTENT[:-1] + b"x"


def longer(site: Site) -> None:
    site.files["model.bin"] = CONTENT + b"x"


def cut_short(site: Site) -> None:
    site.files["model.bin"] = CONTENT[:-50_000]
    site.says_length = len(CONTENT)


def shorter(site: Site) -> None:
    site.files["model.bin"] = b""


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (other_content, f"sha256 is {hashlib.sha256(CONTENT[:-1] + b'x').hexdigest()}, not"),
        (longer, f"longer than the {len(CONTENT)} bytes of the pinned file"),
        (cut_short, "IncompleteRead|sha256 is"),
        (shorter, "sha256 is"),
    ],
    ids=["other-content", "longer", "cut-short", "empty"],
)
def test_a_file_that_is_not_the_pinned_one_is_refused(site: Site, damage: object, reason: str) -> None:
    damage(site)  # type: ignore[operator]
    with pytest.raises(DownloadError, match=reason):
        fetch(pinned(site.url("model.bin")))


def test_an_address_where_nobody_listens_is_refused() -> None:
    with pytest.raises(DownloadError, match="refused"):
        fetch(pinned(f"http://127.0.0.1:{free_ports(1)[0]}/model.bin"))


def test_only_http_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(CONTENT)
    with pytest.raises(DownloadError, match="only http and https are read"):
        fetch(pinned("http://127.0.0.1:9/model.bin"), tmp_path.as_uri(), offline=True)
