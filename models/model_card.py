"""A model's card as Markdown, for people.

Knows: how a manifest reads. Does not know: where the model lies.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.manifest import GateRecord, Manifest, Score

# Scores that are shares of 1.
PERCENT = {"gan_train", "gan_test", "precision", "recall", "coverage", "class_balance", "ndb", "near_copies"}


def markdown(card: Manifest) -> str:
    """The whole card; readable as plain text too."""
    sections = [
        f"# {card.name} {card.version}\n\n{card.description or 'No description.'}",
        "## Model\n\n" + _table(_model(card)),
        "## Training\n\n" + _table(_training(card)),
        *([f"## Use\n\n{use}"] if (use := card.training.data.use) else []),
        "## Scores\n\n" + _scores(card.scores),
        "## Gate\n\n" + _gate(card.gate),
    ]
    return "\n\n".join(sections) + "\n"


def _model(card: Manifest) -> list[tuple[str, str]]:
    image = card.image
    named = (f"{k} {name}" if str(k) != name else name for k, name in enumerate(card.class_names))
    sizes = (
        f"{device} {size}{'' if card.batch_size_measured.get(device) else ' (not measured)'}"
        for device, size in card.batch_size.items()
    )
    return [
        ("images", f"{image.height}x{image.width}{' RGB' if image.channels == 3 else ' grey'}"),
        ("classes", ", ".join(named) or "none"),
        ("truncation", "psi in (0, 1]" if card.truncation else "no"),
        ("fixed batch", ", ".join(sizes) or "not chosen yet"),
        ("weights' licence", card.licence),
    ]


def _training(card: Manifest) -> list[tuple[str, str]]:
    training, data = card.training, card.training.data
    kept = f"{data.held_out} of them kept aside, " if data.held_out else ""
    return [
        ("trained on", f"{data.name}, {data.images} images, {kept}sha256 {data.digest}"),
        ("data licence", data.licence),
        ("attribution", data.attribution or "none asked for"),
        ("trained for", f"{training.kimg:g} kimg, torch {training.torch}, {training.device}"),
        ("made with", f"`{training.command}` (ganmint {training.code_version})"),
    ]


def _scores(scores: Sequence[Score]) -> str:
    if not scores:
        return "Not evaluated."
    protocols = ", ".join(sorted({score.protocol for score in scores}))
    rows = [("figure", "generated", "real images"), ("---", "---:", "---:")]
    rows += [
        (s.name, _shown(s, s.value), "" if s.real_baseline is None else _shown(s, s.real_baseline)) for s in scores
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    lines = [f"| {a:<{widths[0]}} | {b:>{widths[1]}} | {c:>{widths[2]}} |" for a, b, c in rows]
    return f"By {protocols}; beside each figure the same one of real images.\n\n" + "\n".join(lines)


def _shown(score: Score, value: float) -> str:
    is_share = score.name.removeprefix("inceptionv3_") in PERCENT
    return f"{value:.2%}" if is_share else f"{value:.4g}"


def _gate(gate: GateRecord | None) -> str:
    if gate is None:
        return "Not held against thresholds."
    checks = "\n".join(f"- {words}" for words in gate.checks)
    if gate.passed:
        return f"Passed.\n\n{checks}"
    return f"**Not passed, and published all the same: {gate.accepted}**\n\n{checks}"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in rows)
