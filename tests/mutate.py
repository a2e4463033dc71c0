"""Changes one line at a time in a copy of the checkout, and says which changes no test notices.

    python -m tests.mutate services/worker/src/imagerec_worker/views.py --count 30 -- -x -q tests/unit/worker
    python -m tests.mutate --concerned tests/mutations.yml --count 36 --seed 11

What follows `--` is given to pytest. A list of who is concerned says it for each file instead. In Python a comparison,
a number, a truth value, an operator or what is returned is changed; in every other file (Jinja, YAML, configuration) a
line is left out or a value is turned round. Which changes are made depends on the seed alone. The tests that failed are
run again without a change, and have to pass there. The exit status is 0 when enough of the changes were noticed.
"""

from __future__ import annotations

import argparse
import ast
import fnmatch
import os
import queue
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parent.parent
SERVICES = sorted(str(each.relative_to(REPOSITORY)) for each in REPOSITORY.glob("services/*/src"))
SOURCES = (*SERVICES, "loadtest/src", ".")
COMPARISONS = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
OPERATORS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.FloorDiv: ("//", "*")}
TURNED = {
    "true": "false",
    "false": "true",
    "on": "off",
    "off": "on",
    "==": "!=",
    "!=": "==",
    " and ": " or ",
    " or ": " and ",
}
VALUE = re.compile(r"(?<![\w.$-])(?:true|false|on|off)(?![\w.-])|==|!=| and | or |(?<![\w.$'~-])\d+(?![\w.])")


def more(number: int) -> str:
    """Return a number that is more than this one, and by so much that it matters."""
    return str(number + 1 if number < 10 else 2 * number)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One changed line.

    Attributes:
        file: Path within the checkout.
        line: Number of the line, from 1.
        old: What stands there.
        new: What stands there instead; None leaves the line out.
    """

    file: str
    line: int
    old: str
    new: str | None

    def __str__(self) -> str:
        after = "(left out)" if self.new is None else self.new.strip()
        return f"{self.file}:{self.line}: {self.old.strip()}  ->  {after}"


def python_mutations(file: str, text: str) -> Iterator[Mutation]:
    """Yield every change of a Python file that this tool knows."""
    lines = text.splitlines()

    def change(line: int, start: int, end: int, old: str, new: str) -> Iterator[Mutation]:
        """Replace `old` between two columns (bytes, as ast counts), where it stands there once."""
        raw = lines[line - 1].encode()
        place = re.search(rf"(?<![\w=<>!]){re.escape(old)}(?![=<>])", raw[start:end].decode())
        if place is not None:
            before, within, after = raw[:start].decode(), raw[start:end].decode(), raw[end:].decode()
            changed = before + within[: place.start()] + new + within[place.end() :] + after
            yield Mutation(file, line, lines[line - 1], changed)

    for node in ast.walk(ast.parse(text)):
        line, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
        if line == 0 or line != end:
            continue
        if isinstance(node, ast.Compare):
            for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                if type(operator) in COMPARISONS:
                    yield from change(line, left.end_col_offset or 0, right.col_offset, *COMPARISONS[type(operator)])
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            yield from change(line, node.left.end_col_offset or 0, node.right.col_offset, *OPERATORS[type(node.op)])
        elif isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            yield from change(line, node.values[0].end_col_offset or 0, node.values[1].col_offset, old, new)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield from change(line, node.col_offset, node.operand.col_offset, "not ", "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int):
            new = str(not node.value) if isinstance(node.value, bool) else more(node.value)
            old = ast.get_source_segment(text, node) or ""
            yield from change(line, node.col_offset, node.end_col_offset or 0, old, new)
        elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
            old = ast.get_source_segment(text, node) or ""
            yield from change(line, node.col_offset, node.end_col_offset or 0, old, "return None")


def other_mutations(file: str, text: str) -> Iterator[Mutation]:
    """Yield every change of a template or of a file of data that this tool knows."""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith(("#", "{#", "{%", "//", "- name:")) or bare in {"}", "{", "---"}:
            continue
        # Without its head a block is no file any more; without such a default nginx's map has the same one.
        if not bare.endswith(("{", ":", "-%}")) and bare != 'default "";':
            yield Mutation(file, number, line, None)
        code = line.split(" #")[0]
        for place in VALUE.finditer(code):
            new = TURNED.get(place[0]) or more(int(place[0]))
            yield Mutation(file, number, line, line[: place.start()] + new + line[place.end() :])


def mutations(file: str, root: Path = REPOSITORY) -> list[Mutation]:
    """Return every change of a file; what cannot be read any more, or says the same, is no change."""
    text = (root / file).read_text()
    if file.endswith(".yml"):
        said = load(text)
        return [each for each in other_mutations(file, text) if load(changed(text, each)) not in (None, said)]
    if not file.endswith(".py"):
        return list(other_mutations(file, text))
    return [each for each in python_mutations(file, text) if compiles(changed(text, each))]


def changed(text: str, mutation: Mutation) -> str:
    """Return the text with the change made."""
    lines = text.splitlines(keepends=True)
    lines[mutation.line - 1] = "" if mutation.new is None else mutation.new + "\n"
    return "".join(lines)


def load(text: str) -> object:
    """Return what a file of YAML says; None where it cannot be read."""
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return None


def compiles(text: str) -> bool:
    """Say whether Python reads the text."""
    try:
        compile(text, "mutated", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def choose(files: Sequence[str], count: int, seed: int, root: Path = REPOSITORY) -> list[Mutation]:
    """Draw so many changes, at most one a line, in the files' order.

    Of each file alike, or where there are more files than changes, of each line alike.
    """
    drawn: list[Mutation] = []
    pools = []
    for file in files:
        pool = mutations(file, root)
        random.Random(f"{seed} {file}").shuffle(pool)
        pools.append(list({each.line: each for each in pool}.values()))
    if len(files) > count:
        pools = [[each for pool in pools for each in pool]]
        random.Random(f"{seed}").shuffle(pools[0])
    while len(drawn) < count and any(pools):
        drawn += [pool.pop() for pool in pools if pool]
    return sorted(drawn[:count], key=lambda each: (list(files).index(each.file), each.line))


def tracked() -> list[str]:
    """Return the files that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted(name for name in set(listed.split("\0")) if (REPOSITORY / name).is_file())


class Concerned:
    """The tests that concern a file: a list of patterns, the first that fits counts, and of pytest's words."""

    def __init__(self, path: Path) -> None:
        """Read the list."""
        self.rows: dict[str, str] = yaml.safe_load(path.read_text())

    def pattern(self, file: str) -> str | None:
        """Return the pattern that a file has, None for a file of which the list says nothing."""
        return next((each for each in self.rows if fnmatch.fnmatch(file, each)), None)

    def files(self) -> list[str]:
        """Return the files that have a pattern, in the order of their names."""
        return [each for each in tracked() if self.pattern(each)]

    def arguments(self, file: str) -> list[str]:
        """Return what pytest is given for a file."""
        return ["-x", "-q", *shlex.split(self.rows[self.pattern(file) or ""])]


def copy_checkout(folder: Path) -> Path:
    """Copy what git knows or would add into a folder, with the environment and the files beside the checkout.

    The copy is git's as well: some tests ask which files there are.
    """
    copy = folder / "checkout"
    names = tracked()
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, copy / name)
    subprocess.run(["git", "init", "--quiet", copy], check=True)
    add = ["git", "-C", copy, "add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul"]
    subprocess.run(add, input="\0".join(names), text=True, check=True)
    environment_here = REPOSITORY / ".venv"
    (copy / ".venv").symlink_to(environment_here if environment_here.exists() else sys.prefix)
    if (REPOSITORY.parent / "shared").exists():
        (folder / "shared").symlink_to(REPOSITORY.parent / "shared")
    return copy


def environment(copy: Path) -> dict[str, str]:
    """Return the environment in which Python imports the copy's own code."""
    path = os.pathsep.join(str(copy / source) for source in SOURCES)
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def imported(copy: Path, file: str) -> str:
    """Return the path that the tests import a package's file from; what is in no package is run by its own path."""
    root = (copy / file).parent
    while (root / "__init__.py").exists():
        root = root.parent
    if root == (copy / file).parent:
        return str(copy / file)
    name = ".".join((copy / file).relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    program = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]).origin)"
    command = [sys.executable, "-c", program, name]
    done = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=False)
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pytest said.

    Attributes:
        passed: Whether every test passed.
        failed: The tests that did not; none where pytest itself failed or was ended.
    """

    passed: bool
    failed: tuple[str, ...]


def run_tests(copy: Path, arguments: Sequence[str], limit_s: float) -> Outcome:
    """Run pytest in the copy, on the copy's own code; what takes too long fails."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfE", "--tb=no", *arguments]
    # Not a pipe: what the tests have started may outlive them, and hold it open.
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command,
            cwd=copy,
            env=environment(copy),
            stdout=said,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process,
    ):
        try:
            passed = process.wait(limit_s) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return Outcome(passed=False, failed=())
        said.seek(0)
        failed = re.findall(r"^(?:FAILED|ERROR) (tests/.*?)(?: - .*)?$", said.read(), re.MULTILINE)
    return Outcome(passed, tuple(failed))


def main(argv: Sequence[str] | None = None) -> int:
    """Make the changes, run the tests on each and print the survivors; see the module."""
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutate", description=__doc__, usage="%(prog)s FILE… -- PYTEST…"
    )
    parser.add_argument("files", nargs="*", help="files to change (default: all that --concerned knows)")
    parser.add_argument("--concerned", type=Path, help="YAML file: pattern of files, what pytest is given for them")
    parser.add_argument("--count", type=int, default=30, help="how many changes (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="which of them (default 1)")
    parser.add_argument("--at-least", type=float, default=0.9, help="share that must be noticed (default 0.9)")
    parser.add_argument("--limit-s", type=float, default=300, help="seconds that the tests may take (default 300)")
    parser.add_argument(
        "--at-once", type=int, default=1, help="how many at once, each in a copy of its own (default 1)"
    )
    parser.add_argument("--record", type=Path, help="Markdown file that the outcome is added to")
    parser.add_argument("--list", action="store_true", help="print the changes and run nothing")
    options, arguments = parser.parse_args(given[:split]), given[split + 1 :]
    concerned = Concerned(options.concerned) if options.concerned else None
    files = options.files or (concerned.files() if concerned else parser.error("name files, or --concerned"))
    chosen = choose(files, options.count, options.seed)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder, ThreadPoolExecutor(options.at_once) as threads:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(options.at_once):
            copies.put(copy := copy_checkout(Path(folder).resolve() / str(number)))
        for file in dict.fromkeys(each.file for each in chosen):
            place = imported(copy, file) if file.endswith(".py") else str(copy / file)
            if place != str(copy / file):
                print(f"{file} is imported from {place or 'nowhere'}; add its folder to SOURCES", file=sys.stderr)
                return 2

        def given_for(each: Mutation) -> Sequence[str]:
            """Return what pytest is given for a change."""
            return concerned.arguments(each.file) if concerned else arguments

        def outcome(each: Mutation) -> Outcome:
            """Make the change in a copy that is free, and test it."""
            free = copies.get()
            text = (free / each.file).read_text()
            (free / each.file).write_text(changed(text, each))
            said = run_tests(free, given_for(each), options.limit_s)
            (free / each.file).write_text(text)
            copies.put(free)
            print(
                "SURVIVED" if said.passed else "noticed ",
                each,
                *(["by", *said.failed] if said.failed else []),
                flush=True,
            )
            return said

        outcomes = list(threads.map(outcome, chosen))
        # Who fails also without a change has noticed nothing.
        noticed = [(each, said) for each, said in zip(chosen, outcomes, strict=True) if not said.passed]
        again = {tuple(given_for(each)) for each, said in noticed if not said.failed}
        again |= {tuple(dict.fromkeys(name for _, said in noticed for name in said.failed))} - {()}
        for words in again:
            if not (unchanged := run_tests(copy, words, len(chosen) * options.limit_s)).passed:
                print(
                    "these fail also where nothing is changed:", *(unchanged.failed or words), sep="\n", file=sys.stderr
                )
                return 2
    survivors = [each for each, said in zip(chosen, outcomes, strict=True) if said.passed]
    print(f"{len(noticed)} of {len(chosen)} changes noticed, in {time.monotonic() - started_s:.0f} s")
    if options.record:
        command = shlex.join(["python", "-m", "tests.mutate", *(each for each in given if each != str(options.record))])
        rows = [
            f"| `{each.file}:{each.line}` | `{each.old.strip()}` | `{(each.new or '').strip()}` |" for each in survivors
        ]
        table = ["", "| survivor | was | became |", "|---|---|---|", *(row.replace("||", "\\|\\|") for row in rows)]
        with options.record.open("a") as record:
            record.write(f"\n`{command.replace(' --record', '')}`: {len(noticed)} of {len(chosen)} noticed.\n")
            record.write("\n".join(table if survivors else []) + "\n")
    return 0 if len(noticed) >= options.at_least * len(chosen) else 1


if __name__ == "__main__":
    raise SystemExit(main())
