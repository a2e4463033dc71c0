"""The metrics that rules and dashboard ask for, by name."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.conftest import REPOSITORY

FILES = REPOSITORY / "roles/monitoring/files"
# What Grafana puts into an expression.
_OF_GRAFANA = {"$__rate_interval": "1m", "$worker": "worker1"}
_WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}


def rules_of() -> list[dict[str, Any]]:
    """Every rule of the role."""
    groups = yaml.safe_load((FILES / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    """Every expression of the dashboard."""
    panels = json.loads((FILES / "grafana.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def shown(expression: str) -> str:
    """An expression with Grafana's variables filled in."""
    for variable, value in _OF_GRAFANA.items():
        expression = expression.replace(variable, value)
    return expression


def metrics_in(expression: str) -> set[str]:
    """The names of the metrics in an expression: what is no label, no function, no word of the language."""
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", expression)
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"', " ", bare)
    return set(re.findall(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)(?!\w*\s*\()", bare)) - _WORDS
