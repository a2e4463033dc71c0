"""Write each role's table of variables into its README, from the argument spec, which is the manual.

``python roles/write_readmes.py`` writes; ``--check`` only says which README is out of date (exit status 1).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parent
TABLE = re.compile(r"(?<=<!-- variables -->\n).*?(?=<!-- end of variables -->)", re.DOTALL)


def cell(text: str) -> str:
    """Escape what would end a cell of a Markdown table."""
    return re.sub(r"\bC\(([^)]*)\)", r"`\1`", text).replace("|", "\\|").replace("\n", " ")


def row(name: str, option: dict[str, Any], indent: str = "") -> list[str]:
    """Give a variable's row, and below it one for each key of a dictionary."""
    default = "required" if option.get("required") else f"`{cell(json.dumps(option.get('default')))}`"
    if isinstance(option.get("default"), dict) and option["default"]:
        default = "see `defaults/main.yml`"
    kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
    choices = " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "." if "choices" in option else ""
    rows = [f"| {indent}`{name}` | {kind} | {default} | {cell(option['description'])}{choices} |"]
    for key, inner in option.get("options", {}).items():
        rows += row(key, inner, indent + "· ")
    return rows


def table(role: Path) -> str:
    """Give the Markdown table of a role's variables."""
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    rows = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, option in spec["options"].items():
        rows += row(name, option)
    return "\n".join(rows) + "\n"


def main() -> int:
    """Write or check every role's README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if something would change")
    check = parser.parse_args().check
    stale = []
    for role in sorted(path.parent for path in ROLES.glob("*/meta")):
        readme = role / "README.md"
        text = readme.read_text()
        fresh = TABLE.sub(table(role).replace("\\", r"\\"), text)
        if fresh != text:
            stale.append(readme)
            if not check:
                readme.write_text(fresh)
    for readme in stale:
        print(f"{readme.relative_to(ROLES.parent)} {'is out of date; run `make docs`' if check else 'written'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
