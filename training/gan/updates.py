"""The updates of one step: of the generator with its encoder, of the discriminator, and of the projected heads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.networks import one_hot
from training.config import Config
from training.gan.discriminators import DiscriminatorOutput
from training.gan.encoders import Posterior
from training.gan.image_ops import clip_pixels
from training.gan.learners import Learners, optimizer_step
from training.gan.losses import OBJECTIVES, infogan_loss, zero_centered_gradient_penalty
from training.gan.projected import FeaturePairs, ProjectedDiscriminator
from training.gan.step_inputs import (
    FAKE_FOR_D,
    FAKE_FOR_G,
    FAKE_FOR_PROJECTED,
    LATENTS_FOR_D,
    LATENTS_FOR_G,
    REAL_FOR_D,
    REAL_FOR_G,
    REAL_FOR_PROJECTED,
    StepInputs,
)
from training.gan.vae_gan import (
    ALL_ROWS,
    ENCODED,
    SAMPLED,
    insert_encoded,
    kl_divergence,
    reconstruction_loss,
)

# Results of a step by name: scalars, means over the batch of all processes (training.runs.loggers.Tick).
Stats = dict[str, Tensor]
GENERATOR_STATS = ("loss_G", "grad_norm_G", "recon_loss", "kl")
DISCRIMINATOR_STATS = ("loss_D", "grad_norm_D", "loss_codes", "r1", "r2", "acc_real", "acc_fake", "acc_pair", "margin")
PROJECTED_STATS = ("loss_G_projected", "loss_D_projected", "acc_pair_projected", "penalty_projected")
STATS = (*GENERATOR_STATS, *DISCRIMINATOR_STATS, *PROJECTED_STATS)


def sees_pixels(config: Config) -> bool:
    """Whether there is a discriminator that sees pixels."""
    return not (config.projected and config.projected.replaces_pixels)


def sees_encoded(config: Config) -> bool:
    """Whether the discriminators see images from the encoder's latents, too."""
    return config.encoder is not None and config.encoder.adversarial


def update_generator(
    learners: Learners, inputs: StepInputs, real: Tensor, labels: Tensor
) -> tuple[Stats, FeaturePairs | None]:
    """Train the generator, and the encoder with it.

    Returns: GENERATOR_STATS as far as they apply, and what the projected discriminator saw, if there is one.
    """
    config = inputs.config
    seen = SAMPLED if learners.encoder and not sees_encoded(config) else ALL_ROWS
    z, posterior = _latents(learners, inputs, LATENTS_FOR_G, real, labels)
    if sees_encoded(config):
        # Images apart from those that train the encoder, so that D's loss does not reach it.
        seen_fake = _generate(learners, inputs, z.detach(), labels)
        encoded_fake = _generate(learners, inputs, z[ENCODED], labels[ENCODED])
    else:
        fake = _generate(learners, inputs, z, labels)
        seen_fake, encoded_fake = fake[seen], fake[ENCODED]

    loss = torch.zeros(len(labels), device=inputs.device)
    rows: Stats = {}
    encoded_rows: Stats = {}
    pairs = None
    heads = learners.projected.network.heads if learners.projected else None
    with _frozen(learners.D), _frozen(heads):
        if sees_pixels(config):
            adversarial, infogan = _adversarial_terms(
                learners, inputs, real[seen], seen_fake, labels[seen], z[seen].detach()
            )
            pixel_weight = inputs.scheduled(config.projected.pixel_weight) if config.projected else 1.0
            loss[seen] += pixel_weight * adversarial + config.infogan_weight * infogan
            rows["loss_G"] = adversarial
        if learners.projected and config.projected:
            pairs = _see_projected(learners.projected, inputs, real[seen], seen_fake, labels[seen])
            projected_loss = learners.projected.generator_loss(pairs, OBJECTIVES[config.objective])
            loss[seen] += inputs.scheduled(config.projected.weight) * projected_loss
            rows["loss_G_projected"] = projected_loss
        if config.encoder and posterior:
            recon_loss = reconstruction_loss(encoded_fake, real[ENCODED])
            kl = kl_divergence(posterior)
            loss[ENCODED] += inputs.scheduled(config.encoder.weight) * (recon_loss + config.encoder.kl_weight * kl)
            encoded_rows = {"recon_loss": recon_loss, "kl": kl}
        trained = [learners.generator, *([learners.encoder] if learners.encoder else [])]
        updated = trained[1:] if inputs.is_generator_frozen else trained
        grad_norm = optimizer_step(loss, trained, inputs.group, updated)
    return {**_means(inputs, rows), **_means(inputs, encoded_rows), "grad_norm_G": grad_norm}, pairs


def update_discriminator(learners: Learners, inputs: StepInputs, real: Tensor, labels: Tensor) -> Stats:
    """Train the discriminator that sees pixels; return DISCRIMINATOR_STATS."""
    config = inputs.config
    objective = OBJECTIVES[config.objective]
    with torch.no_grad():
        if sees_encoded(config):
            z, _ = _latents(learners, inputs, LATENTS_FOR_D, real, labels)
        else:
            z = inputs.latents(LATENTS_FOR_D)
        fake = _generate(learners, inputs, z, labels)
    penalty_weight = inputs.penalty_weight(config.gamma)
    real.requires_grad_(penalty_weight > 0)
    fake.requires_grad_(penalty_weight > 0)
    real_output = _discriminate(learners, inputs, real, labels, REAL_FOR_D)
    fake_output = _discriminate(learners, inputs, fake, labels, FAKE_FOR_D)

    adversarial = objective.discriminator(real_output.logits, fake_output.logits)
    infogan = infogan_loss(fake_output.codes, z[:, : config.infogan_codes])
    r1 = r2 = torch.zeros_like(adversarial)
    if penalty_weight > 0:
        r1 = penalty_weight * zero_centered_gradient_penalty(real, real_output.logits)
        r2 = penalty_weight * zero_centered_gradient_penalty(fake, fake_output.logits)
    loss = adversarial + config.infogan_weight * infogan + 0.5 * inputs.scheduled(config.gamma) * (r1 + r2)

    grad_norm = optimizer_step(loss, [learners.discriminator], inputs.group)
    means = {"loss_D": adversarial, "loss_codes": infogan, "r1": r1, "r2": r2}
    logits = {"real": real_output.logits, "fake": fake_output.logits}
    rows = inputs.group.gather_named({**means, **logits})
    accuracies = _accuracies(rows.pop("real"), rows.pop("fake"))
    return {name: row.mean() for name, row in rows.items()} | accuracies | {"grad_norm_D": grad_norm}


def update_heads(learners: Learners, inputs: StepInputs, pairs: FeaturePairs) -> Stats:
    """Train the projected discriminator on what it saw in the generator's update; return its PROJECTED_STATS."""
    assert learners.projected
    assert learners.heads
    assert inputs.config.projected
    schedule = inputs.config.projected.gamma
    penalty_weight = inputs.penalty_weight(schedule)
    objective = OBJECTIVES[inputs.config.objective]
    losses = learners.projected.discriminator_losses(pairs, objective, with_penalty=penalty_weight > 0)
    gamma = penalty_weight * inputs.scheduled(schedule)
    optimizer_step(losses.adversarial + 0.5 * gamma * losses.penalty, [learners.heads], inputs.group)
    rows = {
        "loss_D_projected": losses.adversarial,
        "acc_pair_projected": losses.acc_pair,
        "penalty_projected": penalty_weight * losses.penalty,
    }
    return _means(inputs, rows)


def _latents(
    learners: Learners, inputs: StepInputs, part: int, real: Tensor, labels: Tensor
) -> tuple[Tensor, Posterior | None]:
    """Return latents (n, z_dim), with an encoder half of them read from real images, and what it read."""
    z = inputs.latents(part)
    if not learners.encoder:
        return z, None
    with inputs.autocast():
        posterior: Posterior = learners.encoder.network(real[ENCODED], labels[ENCODED])
    return insert_encoded(z, posterior, inputs.config.latent_std), posterior


def _generate(learners: Learners, inputs: StepInputs, z: Tensor, labels: Tensor) -> Tensor:
    with inputs.autocast():
        images: Tensor = learners.G(z, one_hot(labels, inputs.dataset.num_classes))
    return clip_pixels(images.float()) if inputs.config.clip_fakes else images.float()


def _discriminate(
    learners: Learners, inputs: StepInputs, images: Tensor, labels: Tensor, view: int
) -> DiscriminatorOutput:
    """Apply D to augmented images; `view` is one of REAL_FOR_G .. FAKE_FOR_D."""
    images = inputs.augment(images, view)
    with inputs.autocast():
        output: DiscriminatorOutput = learners.D(images, labels)
    return DiscriminatorOutput(logits=output.logits.float(), codes=output.codes.float())


def _adversarial_terms(
    learners: Learners, inputs: StepInputs, real: Tensor, fake: Tensor, labels: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    """Return G's adversarial loss and its InfoGAN loss, (n,) each."""
    with torch.no_grad():
        real_logits = _discriminate(learners, inputs, real, labels, REAL_FOR_G).logits
    output = _discriminate(learners, inputs, fake, labels, FAKE_FOR_G)
    adversarial = OBJECTIVES[inputs.config.objective].generator(real_logits, output.logits)
    return adversarial, infogan_loss(output.codes, z[:, : inputs.config.infogan_codes])


def _see_projected(
    projected: ProjectedDiscriminator, inputs: StepInputs, real: Tensor, fake: Tensor, labels: Tensor
) -> FeaturePairs:
    """Return what the projected discriminator sees: images whose colours are never changed."""
    real = inputs.augment(real, REAL_FOR_PROJECTED, with_colour=False)
    fake = inputs.augment(fake, FAKE_FOR_PROJECTED, with_colour=False)
    with inputs.autocast():
        with torch.no_grad():
            real_maps = projected.features(real)
        fake_maps = projected.features(fake)
    return FeaturePairs(real_maps, fake_maps, labels)


@contextlib.contextmanager
def _frozen(network: nn.Module | None) -> Iterator[None]:
    """Give a network no gradients inside of this context; for a network that has them outside."""
    if network is None:
        yield
        return
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _means(inputs: StepInputs, rows: Stats) -> Stats:
    if not rows:
        return {}
    return {name: row.mean() for name, row in inputs.group.gather_named(rows).items()}


def _accuracies(real: Tensor, fake: Tensor) -> Stats:
    """Return D's accuracies and margin over a batch.

    Relativistic logits have no zero of their own, so accuracies are relative to the midpoint between
    the batch's mean real and mean fake logit.
    """
    midpoint = 0.5 * (real.mean() + fake.mean())
    return {
        "acc_real": (real > midpoint).float().mean(),
        "acc_fake": (fake < midpoint).float().mean(),
        "acc_pair": (real > fake).float().mean(),
        "margin": (real - fake).mean(),
    }
