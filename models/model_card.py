"""Renders a model's manifest as a Markdown model card."""

from __future__ import annotations

from collections.abc import Sequence

from models.manifest import GateRecord, Manifest, Score

# Metrics that are shares of 1.
PERCENT = {
    "gan_train",
    "gan_test",
    "precision",
    "recall",
    "coverage",
    "class_balance",
    "ndb",
    "near_copies",
    "feature_copies",
}


def render_model_card(manifest: Manifest) -> str:
    """Render the whole card as Markdown that is also readable as plain text."""
    sections = [
        f"# {manifest.name} {manifest.version}\n\n{manifest.description or 'No description.'}",
        "## Model\n\n" + _format_list(_describe_model(manifest)),
        "## Training\n\n" + _format_list(_describe_training(manifest)),
    ]
    if manifest.training.data.use:
        sections.append(f"## Use\n\n{manifest.training.data.use}")
    sections.append("## Scores\n\n" + _format_scores(manifest.scores))
    sections.append("## Gate\n\n" + _format_gate(manifest.gate, is_measured=bool(manifest.scores)))
    return "\n\n".join(sections) + "\n"


def _describe_model(manifest: Manifest) -> list[tuple[str, str]]:
    image = manifest.image
    classes = (f"{label} {name}" if str(label) != name else name for label, name in enumerate(manifest.class_names))
    batch_sizes = (
        f"{device} {size}{'' if manifest.batch_size_measured.get(device) else ' (not measured)'}"
        for device, size in manifest.batch_size.items()
    )
    return [
        ("images", f"{image.height}x{image.width}{' RGB' if image.channels == 3 else ' grey'}"),
        ("classes", ", ".join(classes) or "none"),
        ("truncation", "psi in (0, 1]" if manifest.truncation else "no"),
        ("batch size", ", ".join(batch_sizes) or "not chosen yet"),
        ("weights' licence", manifest.licence),
        *(
            [("upgraded from", f"{manifest.upgraded_from}, which has the same weights")]
            if manifest.upgraded_from
            else []
        ),
    ]


def _describe_training(manifest: Manifest) -> list[tuple[str, str]]:
    training = manifest.training
    data = training.data
    held_out = f"{data.held_out} of them held out, " if data.held_out else ""
    return [
        ("trained on", f"{data.name}, {data.images} images, {held_out}sha256 {data.digest}"),
        ("data licence", data.licence),
        ("attribution", data.attribution or "not stated"),
        ("trained for", f"{training.kimg:g} kimg, torch {training.torch}, {training.device}"),
        ("made with", f"`{training.command}` (ganmint {training.code_version})"),
    ]


def _format_scores(scores: Sequence[Score]) -> str:
    if not scores:
        return "Not evaluated."
    protocols = ", ".join(sorted({score.protocol for score in scores}))
    rows = [("metric", "generated", "real images"), ("---", "---:", "---:")]
    rows += [
        (score.name, _format_value(score, score.value), _format_value(score, score.real_baseline)) for score in scores
    ]
    names, values, baselines = (max(len(row[k]) for row in rows) for k in range(3))
    lines = [f"| {name:<{names}} | {value:>{values}} | {baseline:>{baselines}} |" for name, value, baseline in rows]
    return f"Measured by {protocols}, for generated and for real images.\n\n" + "\n".join(lines)


def _format_value(score: Score, value: float | None) -> str:
    if value is None:
        return ""
    is_share = score.name.removeprefix("inceptionv3_") in PERCENT
    return f"{value:.2%}" if is_share else f"{value:.4g}"


def _format_gate(gate: GateRecord | None, is_measured: bool) -> str:
    if gate is None:
        return "Not compared with thresholds."
    checks = "\n".join(f"- {words}" for words in gate.checks)
    if gate.passed:
        return f"Passed.\n\n{checks}"
    outcome = "Not passed" if is_measured else "Not measured"
    return f"**{outcome}. Published anyway: {gate.accepted}**\n\n{checks}"


def _format_list(entries: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in entries)
