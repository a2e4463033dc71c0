"""The record of a training run: its settings, its history and what made it, as JSON and as a plot."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagerec_model.training_settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What is needed to understand a run and to repeat it.

    Attributes:
        settings: of the run.
        history: one entry an epoch: `epoch`, `size` (px), `learning_rate` at its end, `loss`, `top1` and `top5` of
            the augmented training pictures, the same with `val_` of the validation pictures at the serving size,
            `images_per_s`.
        backend: of Keras.
        data: name of the data folder.
        commits: of the repository the command ran from, at the start and, where it differs, at each resumption, with
            `-dirty` if this package had changes; empty outside of a repository.
    """

    settings: TrainingSettings
    history: list[dict[str, Any]]
    backend: str
    data: str
    commits: list[str]

    @classmethod
    def begin(cls, settings: TrainingSettings, *, backend: str, data: str) -> TrainingRecord:
        """Describe a run that this process begins."""
        return cls(settings, [], backend, data, []).resumed()

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> TrainingRecord:
        """Read what `dataclasses.asdict` and JSON made of a record."""
        settings: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in state["settings"].items()
        }
        return cls(**{**state, "settings": TrainingSettings(**settings)})

    def resumed(self) -> TrainingRecord:
        """Return the record of a run that this process goes on with."""
        commit = _commit()
        commits = self.commits + ([commit] if commit and commit not in self.commits[-1:] else [])
        return dataclasses.replace(self, commits=commits)

    def write(self, folder: Path, **more: Any) -> None:
        """Write `training.json` and `training.png` into a folder; `more` is added to the JSON."""
        content = {**dataclasses.asdict(self), **more}
        (folder / "training.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        self.plot(folder / "training.png")

    def plot(self, path: Path) -> None:
        """Draw loss and accuracy against the epoch, and the size of the crops as shades."""
        from matplotlib.figure import Figure  # noqa: PLC0415  # of the extra; the rest works without

        epochs = [entry["epoch"] for entry in self.history]
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        loss.plot(epochs, [entry["loss"] for entry in self.history], "o-", ms=3, label="training (augmented)")
        loss.plot(epochs, [entry["val_loss"] for entry in self.history], "s-", ms=3, label="validation")
        loss.set_ylabel("cross-entropy, smoothed labels (nat)")
        for key, label in (
            ("val_top1", "validation top-1"),
            ("val_top5", "validation top-5"),
            ("top1", "training top-1"),
        ):
            accuracy.plot(epochs, [100 * entry[key] for entry in self.history], "o-", ms=3, label=label)
        accuracy.set_ylabel("right answers (%)")
        for axes in (loss, accuracy):
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
            for size in sorted({entry["size"] for entry in self.history})[1:]:
                first = min(entry["epoch"] for entry in self.history if entry["size"] == size)
                axes.axvline(first - 0.5, color="grey", lw=0.8, ls=":")
                axes.annotate(f"{size} px", (first - 0.4, 0.02), xycoords=("data", "axes fraction"), fontsize=7)
            axes.legend(fontsize=8)
        figure.suptitle(
            f"MobileNetV2 {self.settings.width:g}, {self.data}, {self.settings.epochs} epochs, "
            f"seed {self.settings.seed}",
            fontsize=10,
        )
        figure.savefig(path, dpi=110)


def _commit() -> str | None:
    """Return the commit that this package belongs to, or None."""
    folder = Path(__file__).parent
    try:
        commit = _git("rev-parse", "HEAD", at=folder)
        return commit + "-dirty" * bool(_git("status", "--porcelain", "--", ".", at=folder))
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str, at: Path) -> str:
    command = ["git", "-C", str(at), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
