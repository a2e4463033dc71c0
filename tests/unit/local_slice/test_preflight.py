"""What a host must have before machines boot on it."""

from __future__ import annotations

from pathlib import Path

from rspec.local_slice.preflight import inotify_problems


def _proc(folder: Path, limit: int, used: int) -> Path:
    (folder / "sys/fs/inotify").mkdir(parents=True)
    (folder / "sys/fs/inotify/max_user_instances").write_text(f"{limit}\n")
    descriptors = folder / "17/fd"
    descriptors.mkdir(parents=True)
    for number in range(used):
        (descriptors / str(number)).symlink_to("anon_inode:inotify")
    (descriptors / "1000").symlink_to("/dev/null")
    return folder


def test_a_third_slice_is_refused_where_the_kernel_has_no_watches_left_for_it(tmp_path: Path) -> None:
    problems = inotify_problems(6, _proc(tmp_path, limit=128, used=96))
    assert problems == [
        "6 machines need 48 inotify instances, and 96 of this host's 128 are taken: raise the limit "
        "(sysctl fs.inotify.max_user_instances=288) or remove another slice"
    ]


def test_a_slice_boots_where_the_last_watch_is_enough(tmp_path: Path) -> None:
    assert inotify_problems(6, _proc(tmp_path, limit=128, used=80)) == []
