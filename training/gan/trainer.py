"""One training run's state and its single step.

Every random number is a pure function of (seed, images shown), so the state is the weights, the
optimisers' moments and one counter: a run that is stopped and resumed takes the very same steps.
Not here: the loop over steps (training.runs.loop).
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.latents import MAX_INTEGER
from models.network_config import GeneratorConfig, ResNetConfig
from models.networks import build_generator, one_hot
from training.config import Config
from training.data.dataset import Dataset
from training.discriminator_config import DiscriminatorConfig
from training.distributed import SINGLE, ProcessGroup
from training.gan.augment import augment
from training.gan.discriminators import DiscriminatorOutput, build_discriminator
from training.gan.encoders import Posterior, build_encoder
from training.gan.image_ops import clip_pixels
from training.gan.losses import OBJECTIVES, infogan_loss, zero_centered_gradient_penalty
from training.gan.projected import FeaturePairs, ProjectedJudge
from training.gan.vae_gan import ALL_ROWS, ENCODED, SAMPLED, kl_divergence, reconstruction_loss, reparameterize
from training.gan.widening import adapt_classes, fits, load_widened
from training.rng import RngStreams
from training.schedule import CosineSchedule

NO_PENALTY = CosineSchedule(start=0.0, end=0.0)
# The inputs of D in one step; each has its own random augmentations.
REAL_FOR_G = 0
FAKE_FOR_G = 1
REAL_FOR_D = 2
FAKE_FOR_D = 3
REAL_FOR_PROJECTED = 4
FAKE_FOR_PROJECTED = 5
# The latents of one step.
LATENTS_FOR_G = 0
LATENTS_FOR_D = 1


# Results of a step by name: scalars, means over the batch of all processes (training.runs.loggers.Tick).
Stats = dict[str, Tensor]
GENERATOR_STATS = ("loss_G", "grad_norm_G", "recon_loss", "kl")
DISCRIMINATOR_STATS = ("loss_D", "grad_norm_D", "loss_codes", "r1", "r2", "acc_real", "acc_fake", "acc_pair", "margin")
PROJECTED_STATS = ("loss_G_projected", "loss_D_projected", "acc_pair_projected", "penalty_projected")
STATS = (*GENERATOR_STATS, *DISCRIMINATOR_STATS, *PROJECTED_STATS)


def generator_config(config: Config, dataset: Dataset, with_prior: bool = False) -> GeneratorConfig:
    """Return the generator that this configuration has for this data; a learned prior is fitted after training."""
    network = config.generator
    if isinstance(network, ResNetConfig) and not with_prior:
        network = network.model_copy(update={"prior": None})
    return GeneratorConfig(
        z_dim=config.z_dim,
        num_classes=len(dataset.class_names),
        shape=dataset.shape,
        network=network,
    )


def discriminator_config(config: Config, dataset: Dataset) -> DiscriminatorConfig:
    """Return the discriminator that this configuration has for this data."""
    return DiscriminatorConfig(
        num_classes=len(dataset.class_names),
        shape=dataset.shape,
        infogan_codes=config.infogan_codes,
        network=config.discriminator,
    )


class Learner(NamedTuple):
    """A network and its optimiser."""

    network: nn.Module
    optimizer: torch.optim.Adam


class Trainer:
    """Networks, optimisers and the counter of real images shown to D.

    Args:
        config: the run's configuration.
        dataset: the training data; its shape and classes decide the networks' inputs and outputs.
        device: a torch device name.
        group: the processes that share each batch.
    """

    def __init__(self, config: Config, dataset: Dataset, device: str, group: ProcessGroup = SINGLE) -> None:
        assert config.precision != "auto", "training.precision comes first"
        self.config = config
        self.group = group
        self.dataset = dataset
        self.device = torch.device(device)
        self.images_shown = 0
        self.objective = OBJECTIVES[config.objective]
        power = config.data.class_sampling_power
        labels = dataset.labels if power < 1 else None
        self.rng = RngStreams(config.seed, config.batch, len(dataset), group, labels, power)
        self._build_networks()

    def _build_networks(self) -> None:
        config = self.config
        generator = generator_config(config, self.dataset)
        discriminator = discriminator_config(config, self.dataset)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed % (MAX_INTEGER + 1))
            generator_learner = self._learner(build_generator(generator))
            discriminator_learner = self._learner(build_discriminator(discriminator))
            encoder = build_encoder(discriminator, config.z_dim) if config.encoder else None
            self.judge = ProjectedJudge(discriminator, config.projected) if config.projected else None
        self.G = generator_learner.network
        self.optimizer_G = generator_learner.optimizer
        self.D = discriminator_learner.network
        self.optimizer_D = discriminator_learner.optimizer
        self.ema = copy.deepcopy(self.G).eval().requires_grad_(False)
        self.encoder = self._learner(encoder) if encoder else None
        self.heads = self._learner(self.judge.discriminator) if self.judge else None
        if self.judge:
            self.judge.backbone.to(self.device)
        # Without an encoder, all latents are sampled from the prior.
        self._sampled = SAMPLED if encoder else ALL_ROWS
        self._sees_pixels = not (config.projected and config.projected.replaces_pixels)

    def _learner(self, network: nn.Module) -> Learner:
        # Convolutions are fastest in this memory format, above all in bfloat16.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.to(self.device)
        return Learner(network, torch.optim.Adam(network.parameters(), lr=self.config.lr.start, eps=1e-8))

    def _generator_learners(self) -> list[Learner]:
        """Return what G's loss trains: G, and the encoder if there is one."""
        return [Learner(self.G, self.optimizer_G), *([self.encoder] if self.encoder else [])]

    def _is_generator_frozen(self) -> bool:
        return self.images_shown < self.config.freeze_generator_kimg * 1000

    def _learners(self) -> list[Learner]:
        """Return every network that is trained."""
        heads = [self.heads] if self.heads else []
        return [Learner(self.D, self.optimizer_D), *self._generator_learners(), *heads]

    def networks(self) -> dict[str, nn.Module]:
        """Return every network that is trained, by its name in messages."""
        optional = {"encoder": self.encoder, "projected discriminator": self.heads}
        networks = {"generator": self.G, "discriminator": self.D}
        return networks | {name: learner.network for name, learner in optional.items() if learner}

    def _optional_parts(self) -> dict[str, dict[str, Any]]:
        """Return the networks and optimisers that only some configurations have."""
        encoder, heads = self.encoder, self.heads
        return {
            "encoder": {"E": encoder.network, "optimizer_E": encoder.optimizer} if encoder else {},
            "projected": {"D": heads.network, "optimizer_D": heads.optimizer} if heads else {},
        }

    def state(self) -> dict[str, Any]:
        """Return everything that later steps depend on."""
        return {
            "images_shown": self.images_shown,
            "G": self.G.state_dict(),
            "D": self.D.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer_G": self.optimizer_G.state_dict(),
            "optimizer_D": self.optimizer_D.state_dict(),
            **{
                name: {key: part.state_dict() for key, part in parts.items()}
                for name, parts in self._optional_parts().items()
            },
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned; states of version 0.1 have further keys, which are ignored."""
        self.images_shown = state["images_shown"]
        for name in ("G", "D", "ema", "optimizer_G", "optimizer_D"):
            getattr(self, name).load_state_dict(state[name])
        # A run may start from another run's checkpoint that lacks some of them.
        for name, parts in self._optional_parts().items():
            for key, part in parts.items() if state.get(name) else ():
                part.load_state_dict(state[name][key])

    def start_from(self, state: dict[str, Any]) -> list[str]:
        """Start a new run from another one's state: keep what fits of its networks, averages and optimisers.

        A state may hold the generator only, or a narrower one, which is widened; other numbers of classes begin with a
        fresh embedding. Another network that does not fit begins anew. The images are counted from 0.

        Returns: what began anew, in words.
        Raises: RuntimeError, ValueError, KeyError: the generator does not fit.
        """
        weights, has_other_classes = adapt_classes(self.G, state["G"])
        average, _ = adapt_classes(self.ema, state.get("ema") or state["G"])
        is_widened = load_widened(self.G, weights)
        load_widened(self.ema, average)
        anew = ["the generator's embedding of the classes"] if has_other_classes else []
        if "optimizer_G" in state and not is_widened and not has_other_classes:
            self.optimizer_G.load_state_dict(state["optimizer_G"])
        else:
            anew.append("the generator's optimiser")
        discriminator = Learner(self.D, self.optimizer_D)
        anew += _load_fitting("discriminator", discriminator, state.get("D"), state.get("optimizer_D"))
        encoder, heads = state.get("encoder") or {}, state.get("projected") or {}
        if self.encoder:
            anew += _load_fitting("encoder", self.encoder, encoder.get("E"), encoder.get("optimizer_E"))
        if self.heads:
            anew += _load_fitting("projected discriminator", self.heads, heads.get("D"), heads.get("optimizer_D"))
        return anew

    def is_finite(self) -> bool:
        """Whether every weight is finite."""
        networks = [self.ema, *(learner.network for learner in self._learners())]
        weights = [w for network in networks for w in network.parameters()]
        return bool(torch.stack([w.isfinite().all() for w in weights]).all())

    def schedule_value(self, schedule: CosineSchedule) -> float:
        """Return a schedule's value at this point of the run."""
        return schedule.at(self.images_shown / (self.config.schedule_kimg * 1000))

    def augment_p(self) -> float:
        """Return the probability of each augmentation at this point of the run."""
        return self.schedule_value(self.config.augment.p) if self.config.augment else 0.0

    def _pixel_weight(self) -> float:
        return self.schedule_value(self.config.projected.pixel_weight) if self.config.projected else 1.0

    def step(self) -> Stats:
        """Show one batch of real images: update G, then D, then the averaged weights; return STATS."""
        self._set_learning_rates()
        real, labels = self._real_batch()
        stats_G = self._update_generator(real, labels)
        stats_D = dict.fromkeys(DISCRIMINATOR_STATS, torch.zeros((), device=self.device))
        if self._sees_pixels:
            stats_D = self._update_discriminator(real, labels)
        self._update_ema()
        self.images_shown += self.config.batch
        return {**stats_G, **stats_D}

    def _set_learning_rates(self) -> None:
        lr = self.schedule_value(self.config.lr)
        betas = (self.config.beta1, self.schedule_value(self.config.beta2))
        for learner in self._learners():
            # Two time scales (Heusel et al., arXiv 1706.08500).
            share = self.schedule_value(self.config.generator_lr_share) if learner.network is self.G else 1.0
            learner.optimizer.param_groups[0].update(lr=share * lr, betas=betas)

    def _update_generator(self, real: Tensor, labels: Tensor) -> Stats:
        self.D.requires_grad_(False)
        sampled = self._sampled
        z = self._latents(LATENTS_FOR_G)
        posterior = self._encode(real, labels)
        if posterior:
            z = self._insert_encoded(z, posterior)
        fake = self._generate(z, labels)

        loss = torch.zeros(len(labels), device=self.device)
        adversarial = recon_loss = kl = torch.zeros_like(loss[sampled])
        if self._sees_pixels:
            adversarial, infogan = self._adversarial_terms(real[sampled], fake[sampled], labels[sampled], z[sampled])
            loss[sampled] += self._pixel_weight() * adversarial + self.config.infogan_weight * infogan
        pairs = self._project(real[sampled], fake[sampled], labels[sampled])
        projected_loss = torch.zeros_like(adversarial)
        if self.judge and self.config.projected and pairs:
            self.judge.discriminator.heads.requires_grad_(False)
            projected_loss = self.judge.generator_loss(pairs, self.objective)
            loss[sampled] += self.schedule_value(self.config.projected.weight) * projected_loss
        if self.config.encoder and posterior:
            recon_loss = reconstruction_loss(fake[ENCODED], real[ENCODED])
            kl = kl_divergence(posterior)
            weight = self.schedule_value(self.config.encoder.weight)
            loss[ENCODED] += weight * (recon_loss + self.config.encoder.kl_weight * kl)

        learners = self._generator_learners()
        grad_norm = self._optimizer_step(loss, learners, learners[1:] if self._is_generator_frozen() else learners)
        self.D.requires_grad_(True)
        rows = {"loss_G": adversarial, "recon_loss": recon_loss, "kl": kl, "loss_G_projected": projected_loss}
        means = {name: row.mean() for name, row in self.group.gather_named(rows).items()}
        return {**means, "grad_norm_G": grad_norm, **self._update_heads(pairs)}

    def _project(self, real: Tensor, fake: Tensor, labels: Tensor) -> FeaturePairs | None:
        """Return what the second discriminator sees, if there is one: images whose colours are never changed."""
        if self.judge is None:
            return None
        real = self._augment(real, REAL_FOR_PROJECTED, with_colour=False)
        fake = self._augment(fake, FAKE_FOR_PROJECTED, with_colour=False)
        with self._autocast():
            with torch.no_grad():
                real_maps = self.judge.features(real)
            fake_maps = self.judge.features(fake)
        return FeaturePairs(real_maps, fake_maps, labels)

    def _update_heads(self, pairs: FeaturePairs | None) -> Stats:
        if not (self.judge and self.heads and self.config.projected and pairs):
            return {name: torch.zeros((), device=self.device) for name in PROJECTED_STATS[1:]}
        self.judge.discriminator.heads.requires_grad_(True)
        interval = self._penalty_weight()
        losses = self.judge.discriminator_losses(pairs, self.objective, with_penalty=interval > 0)
        gamma = interval * self.schedule_value(self.config.projected.gamma)
        self._optimizer_step(losses.adversarial + 0.5 * gamma * losses.penalty, [self.heads])
        rows = {
            "loss_D_projected": losses.adversarial,
            "acc_pair_projected": losses.acc_pair,
            "penalty_projected": interval * losses.penalty,
        }
        return {name: row.mean() for name, row in self.group.gather_named(rows).items()}

    def _adversarial_terms(self, real: Tensor, fake: Tensor, labels: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return G's adversarial loss and its InfoGAN loss, (n,) each."""
        with torch.no_grad():
            real_logits = self._discriminate(real, labels, REAL_FOR_G).logits
        output = self._discriminate(fake, labels, FAKE_FOR_G)
        adversarial = self.objective.generator(real_logits, output.logits)
        return adversarial, infogan_loss(output.codes, z[:, : self.config.infogan_codes])

    def _encode(self, real: Tensor, labels: Tensor) -> Posterior | None:
        """Return the posterior of the rows ENCODED, if there is an encoder."""
        if self.encoder is None:
            return None
        with self._autocast():
            posterior: Posterior = self.encoder.network(real[ENCODED], labels[ENCODED])
        return posterior

    def _insert_encoded(self, z: Tensor, posterior: Posterior) -> Tensor:
        """Replace the rows ENCODED by samples of the posterior, scaled as the prior is."""
        std = self.config.latent_std
        z = z.clone()
        z[ENCODED] = std * reparameterize(posterior, z[ENCODED] / std)
        return z

    def _update_discriminator(self, real: Tensor, labels: Tensor) -> Stats:
        z = self._latents(LATENTS_FOR_D)
        with torch.no_grad():
            fake = self._generate(z, labels)
        penalty_weight = self._penalty_weight()
        real.requires_grad_(penalty_weight > 0)
        fake.requires_grad_(penalty_weight > 0)
        real_output = self._discriminate(real, labels, REAL_FOR_D)
        fake_output = self._discriminate(fake, labels, FAKE_FOR_D)

        adversarial = self.objective.discriminator(real_output.logits, fake_output.logits)
        infogan = infogan_loss(fake_output.codes, z[:, : self.config.infogan_codes])
        r1 = r2 = torch.zeros_like(adversarial)
        if penalty_weight > 0:
            r1 = penalty_weight * zero_centered_gradient_penalty(real, real_output.logits)
            r2 = penalty_weight * zero_centered_gradient_penalty(fake, fake_output.logits)
        gamma = self.schedule_value(self.config.gamma)
        loss = adversarial + self.config.infogan_weight * infogan + 0.5 * gamma * (r1 + r2)

        grad_norm = self._optimizer_step(loss, [Learner(self.D, self.optimizer_D)])
        rows = {"loss_D": adversarial, "loss_codes": infogan, "r1": r1, "r2": r2}
        logits = {"real": real_output.logits, "fake": fake_output.logits}
        rows = self.group.gather_named({**rows, **logits})
        return {
            "loss_D": rows["loss_D"].mean(),
            "grad_norm_D": grad_norm,
            "loss_codes": rows["loss_codes"].mean(),
            "r1": rows["r1"].mean(),
            "r2": rows["r2"].mean(),
            **_logit_stats(rows["real"], rows["fake"]),
        }

    def _optimizer_step(self, loss: Tensor, learners: list[Learner], updated: list[Learner] | None = None) -> Tensor:
        """Follow the gradient of the mean of a loss (n,), with all learners or those that are to be updated.

        Returns: the norm of the first network's gradient.
        """
        for learner in learners:
            learner.optimizer.zero_grad(set_to_none=True)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        for learner in learners:
            self.group.average_gradients(learner.network.parameters())
        for learner in learners if updated is None else updated:
            learner.optimizer.step()
        return _gradient_norm(learners[0].network)

    def _penalty_weight(self) -> int:
        """Return the weight of R1 and R2 in this step (lazy regularisation, arXiv 1912.04958, section 3.1)."""
        interval = self.config.penalty_every
        is_due = (self.images_shown // self.config.batch) % interval == 0
        return interval if is_due and self.config.gamma != NO_PENALTY else 0

    def _generate(self, z: Tensor, labels: Tensor) -> Tensor:
        with self._autocast():
            images: Tensor = self.G(z, one_hot(labels, self.dataset.num_classes))
        return clip_pixels(images.float()) if self.config.clip_fakes else images.float()

    def _discriminate(self, images: Tensor, labels: Tensor, view: int) -> DiscriminatorOutput:
        """Apply D to augmented images; `view` is one of REAL_FOR_G .. FAKE_FOR_D."""
        images = self._augment(images, view)
        with self._autocast():
            output: DiscriminatorOutput = self.D(images, labels)
        return DiscriminatorOutput(logits=output.logits.float(), codes=output.codes.float())

    def _augment(self, images: Tensor, view: int, with_colour: bool = True) -> Tensor:
        """Transform images at random, if the configuration says so."""
        if self.config.augment is None:
            return images
        rng = self.rng.augment_rng(self.images_shown, view)
        colour_share = self.config.augment.colour if with_colour else 0.0
        return augment(images, self.augment_p(), rng, self.group, colour_share)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.config.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    @torch.no_grad()
    def _update_ema(self) -> None:
        halflife = self.schedule_value(self.config.ema_halflife_kimg) * 1000
        decay = 0.5 ** (self.config.batch / halflife) if halflife > 0 else 0.0
        for average, weight in zip(self.ema.parameters(), self.G.parameters()):
            average.lerp_(weight, 1.0 - decay)
        # DCGAN's running statistics.
        for buffer, running in zip(self.ema.buffers(), self.G.buffers()):
            buffer.copy_(running)

    def _latents(self, part: int) -> Tensor:
        """Return latents from the prior, (n, z_dim); `part` is LATENTS_FOR_G or LATENTS_FOR_D."""
        normal = self.rng.latents(self.images_shown, part, self.config.z_dim)
        return torch.from_numpy(normal).to(self.device) * self.config.latent_std

    def _real_batch(self) -> tuple[Tensor, Tensor]:
        images, labels = self.dataset.batch(self.rng.batch_indices(self.images_shown))
        if self.config.data.mirror:
            flips = self.rng.mirror_mask(self.images_shown)
            images[flips] = images[flips, :, :, ::-1]
        real = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)
        return real, torch.from_numpy(labels).to(self.device)


def _load_fitting(
    name: str, learner: Learner, weights: dict[str, Tensor] | None, optimizer: dict[str, Any] | None
) -> list[str]:
    """Load a network and its optimiser as far as they fit; return what began anew, in words."""
    adapted, has_other_classes = adapt_classes(learner.network, weights) if weights else ({}, False)
    if not fits(learner.network, adapted):
        return [f"the {name}"]
    learner.network.load_state_dict(adapted)
    if has_other_classes:
        return [f"the {name}'s weights of the classes", f"the {name}'s optimiser"]
    if optimizer is None:
        return [f"the {name}'s optimiser"]
    learner.optimizer.load_state_dict(optimizer)
    return []


def _gradient_norm(network: nn.Module) -> Tensor:
    """Return the Euclidean norm of all gradients as one vector."""
    norms = [p.grad.norm() for p in network.parameters() if p.grad is not None]
    return torch.stack(norms).square().sum().sqrt()


def _logit_stats(real: Tensor, fake: Tensor) -> Stats:
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
