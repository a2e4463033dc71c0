"""Changes one line at a time in a copy of the checkout, and says which changes no test notices.

    python -m tests.mutate services/worker/src/imagerec_worker/views.py --count 30 -- -x -q tests/unit/worker

What follows `--` is given to pytest. In Python a comparison, a number, a truth value, an operator or what is returned
is changed; in every other file (Jinja, YAML, configuration) a line is left out or a value is turned round. Which
changes are made depends on the seed alone. The exit status is 0 when enough of them were noticed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """Return every change of a file; a Python file that would not compile is no change."""
    text = (root / file).read_text()
    if not file.endswith(".py"):
        return list(other_mutations(file, text))
    return [each for each in python_mutations(file, text) if compiles(changed(text, each))]


def changed(text: str, mutation: Mutation) -> str:
    """Return the text with the change made."""
    lines = text.splitlines(keepends=True)
    lines[mutation.line - 1] = "" if mutation.new is None else mutation.new + "\n"
    return "".join(lines)


def compiles(text: str) -> bool:
    """Say whether Python reads the text."""
    try:
        compile(text, "mutated", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def choose(files: Sequence[str], count: int, seed: int, root: Path = REPOSITORY) -> list[Mutation]:
    """Draw so many changes, of each file alike and at most one a line, in the files' order."""
    drawn: list[Mutation] = []
    pools = []
    for file in files:
        pool = mutations(file, root)
        random.Random(f"{seed} {file}").shuffle(pool)
        pools.append(list({each.line: each for each in pool}.values()))
    while len(drawn) < count and any(pools):
        drawn += [pool.pop() for pool in pools if pool]
    return sorted(drawn[:count], key=lambda each: (list(files).index(each.file), each.line))


def copy_checkout(folder: Path) -> Path:
    """Copy what git knows or would add into a folder, with the environment and the files beside the checkout."""
    copy = folder / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy / name)
    (copy / ".venv").symlink_to(REPOSITORY / ".venv")
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


def passes(copy: Path, arguments: Sequence[str], limit_s: float) -> bool:
    """Run pytest in the copy, on the copy's own code; what takes too long fails."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    with subprocess.Popen(
        command,
        cwd=copy,
        env=environment(copy),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            return process.wait(limit_s) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return False


def main(argv: Sequence[str] | None = None) -> int:
    """Make the changes, run the tests on each and print the survivors; see the module."""
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutate", description=__doc__, usage="%(prog)s FILE… -- PYTEST…"
    )
    parser.add_argument("files", nargs="+", help="files of the checkout to change")
    parser.add_argument("--count", type=int, default=30, help="how many changes (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="which of them (default 1)")
    parser.add_argument("--at-least", type=float, default=0.9, help="share that must be noticed (default 0.9)")
    parser.add_argument("--limit-s", type=float, default=300, help="seconds that the tests may take (default 300)")
    parser.add_argument("--record", type=Path, help="Markdown file that the outcome is added to")
    parser.add_argument("--list", action="store_true", help="print the changes and run nothing")
    options, arguments = parser.parse_args(given[:split]), given[split + 1 :]
    chosen = choose(options.files, options.count, options.seed)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    survivors = []
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        copy = copy_checkout(Path(folder).resolve())
        for file in options.files:
            place = imported(copy, file) if file.endswith(".py") else str(copy / file)
            if place != str(copy / file):
                print(f"{file} is imported from {place or 'nowhere'}; add its folder to SOURCES", file=sys.stderr)
                return 2
        if not passes(copy, arguments, options.limit_s):
            print("the tests fail before anything is changed; run them first", file=sys.stderr)
            return 2
        for number, each in enumerate(chosen, 1):
            place = copy / each.file
            text = place.read_text()
            place.write_text(changed(text, each))
            survived = passes(copy, arguments, options.limit_s)
            place.write_text(text)
            survivors += [each] if survived else []
            print(f"{number}/{len(chosen)} {'SURVIVED' if survived else 'noticed '} {each}", flush=True)
    noticed = len(chosen) - len(survivors)
    print(f"{noticed} of {len(chosen)} changes noticed, in {time.monotonic() - started_s:.0f} s")
    if options.record:
        command = shlex.join(["python", "-m", "tests.mutate", *(each for each in given if each != str(options.record))])
        rows = [
            f"| `{each.file}:{each.line}` | `{each.old.strip()}` | `{(each.new or '').strip()}` |" for each in survivors
        ]
        table = ["", "| survivor | was | became |", "|---|---|---|", *(row.replace("||", "\\|\\|") for row in rows)]
        with options.record.open("a") as record:
            record.write(f"\n`{command.replace(' --record', '')}`: {noticed} of {len(chosen)} noticed.\n")
            record.write("\n".join(table if survivors else []) + "\n")
    return 0 if noticed >= options.at_least * len(chosen) else 1


if __name__ == "__main__":
    raise SystemExit(main())
