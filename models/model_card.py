"""Renders a model's manifest as a Markdown model card."""

from __future__ import annotations

from collections.abc import Sequence

from models.evidence import Ancestor, GateRecord, Score, TrainingInfo, format_kimg
from models.manifest import Manifest

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
    sections.append("## Scores\n\n" + _format_scores(manifest.scores, manifest.training.scored_on))
    sections.append("## Gate\n\n" + _format_gate(manifest.gate, is_measured=bool(manifest.scores)))
    return "\n\n".join(sections) + "\n"


def _describe_model(manifest: Manifest) -> list[tuple[str, str]]:
    image = manifest.image
    batch_sizes = (
        f"{device} {size}{'' if manifest.batch_size_measured.get(device) else ' (not measured)'}"
        for device, size in manifest.batch_size.items()
    )
    return [
        ("images", f"{image.width}x{image.height}{' RGB' if image.channels == 3 else ' grey'}"),
        _describe_classes(manifest),
        ("truncation", "psi in (0, 1]" if manifest.truncation else "no"),
        *([("directions", ", ".join(manifest.directions))] if manifest.directions else []),
        ("batch size", ", ".join(batch_sizes) or "not chosen yet"),
        ("weights' licence", manifest.licence),
        *(
            [("upgraded from", f"{manifest.upgraded_from}, which has the same weights")]
            if manifest.upgraded_from
            else []
        ),
    ]


def _describe_classes(manifest: Manifest) -> tuple[str, str]:
    names = manifest.class_names
    if label := manifest.continuous_label:
        return "continuous label", f"{label}, from {names[0]} to {names[-1]} in {len(names) - 1} equal steps"
    classes = (f"{label} {name}" if str(label) != name else name for label, name in enumerate(names))
    return "classes", ", ".join(classes) or "none"


def _describe_training(manifest: Manifest) -> list[tuple[str, str]]:
    training = manifest.training
    data = training.data
    held_out = f"{data.held_out} of them held out, " if data.held_out else ""
    return [
        ("trained on", f"{data.name}, {data.images} images, {held_out}sha256 {data.digest}"),
        ("data licence", data.licence),
        ("attribution", data.attribution or "not stated"),
        *_describe_ancestors(training.ancestors),
        ("trained for", f"{format_kimg(training.kimg)} kimg, torch {training.torch}, {training.device}"),
        ("made with", f"`{training.command}` (ganmint {training.code_version})"),
        *_describe_choices(training),
    ]


def _describe_ancestors(ancestors: Sequence[Ancestor]) -> list[tuple[str, str]]:
    return [
        (
            "started from",
            f"{ancestor.source}, trained for {format_kimg(ancestor.kimg)} kimg on {ancestor.data.name}, "
            f"{ancestor.data.images} images, sha256 {ancestor.data.digest}; data licence {ancestor.data.licence}; "
            f"attribution: {ancestor.data.attribution or 'not stated'}; made with `{ancestor.command}`",
        )
        for ancestor in ancestors
    ]


def _describe_choices(training: TrainingInfo) -> list[tuple[str, str]]:
    entries = []
    if training.changed_settings:
        preset = training.config.get("preset", "")
        changes = ", ".join(
            _format_change(name, default, used) for name, (default, used) in training.changed_settings.items()
        )
        entries.append((f"settings other than preset {preset}", changes))
    if training.checkpoint:
        entries.append(("published state", training.checkpoint))
    if training.test_evaluations is not None:
        earlier = sum(ancestor.test_evaluations for ancestor in training.ancestors)
        more = f", its ancestors {earlier} times" if earlier else ""
        entries.append(("measured on test images", f"{training.test_evaluations} times{more}"))
    return entries


def _format_change(name: str, default: object, used: object) -> str:
    instead = f"not {_format_setting(default)}" if _is_set(default) else "the preset has none"
    return f"{name} {_format_setting(used) if _is_set(used) else 'none'} ({instead})"


def _is_set(value: object) -> bool:
    return value is not None and value not in ("", [], {})


def _format_setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _format_scores(scores: Sequence[Score], scored_on: str) -> str:
    if not scores:
        return "Not evaluated."
    protocols = ", ".join(sorted({score.protocol for score in scores}))
    rows = [("metric", "generated", "real images"), ("---", "---:", "---:")]
    rows += [
        (score.name, _format_value(score, score.value), _format_value(score, score.real_baseline)) for score in scores
    ]
    names, values, baselines = (max(len(row[k]) for row in rows) for k in range(3))
    lines = [f"| {name:<{names}} | {value:>{values}} | {baseline:>{baselines}} |" for name, value, baseline in rows]
    compared = f" Compared with {scored_on}." if scored_on else ""
    return f"Measured by {protocols}, for generated and for real images.{compared}\n\n" + "\n".join(lines)


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
