"""One training run's state and its single step.

Every random number is a pure function of (seed, images shown), so the state is the weights, the
optimisers' moments and one counter: a run that is stopped and resumed takes the very same steps.
Not here: the loop over steps (training.runs.loop), what each network does in a step (training.gan.updates).
"""

from __future__ import annotations

import torch

from training.config import Config
from training.data.dataset import Dataset
from training.distributed import SINGLE, ProcessGroup
from training.gan import training_state
from training.gan.learners import build_learners
from training.gan.step_inputs import StepInputs
from training.gan.training_state import State
from training.gan.updates import STATS, Stats, sees_pixels, update_discriminator, update_generator, update_heads
from training.rng import RngStreams


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
        power = config.data.class_sampling_power
        labels = dataset.labels if power < 1 else None
        self._rng = RngStreams(config.seed, config.batch, len(dataset), group, labels, power)
        self.learners = build_learners(config, dataset, self.device)

    def inputs(self) -> StepInputs:
        """Return what the next step is fed with."""
        return StepInputs(self.config, self.dataset, self.device, self.group, self._rng, self.images_shown)

    def step(self) -> Stats:
        """Show one batch of real images: update G, then D, then the averaged weights; return STATS."""
        inputs = self.inputs()
        self._set_learning_rates(inputs)
        real, labels = inputs.real_batch()
        stats = dict.fromkeys(STATS, torch.zeros((), device=self.device))
        of_generator, pairs = update_generator(self.learners, inputs, real, labels)
        stats |= of_generator
        if pairs:
            stats |= update_heads(self.learners, inputs, pairs)
        if sees_pixels(self.config):
            stats |= update_discriminator(self.learners, inputs, real, labels)
        self.learners.update_ema(inputs.ema_decay)
        self.images_shown += self.config.batch
        return stats

    def _set_learning_rates(self, inputs: StepInputs) -> None:
        lr = inputs.scheduled(self.config.lr)
        betas = (self.config.beta1, inputs.scheduled(self.config.beta2))
        for learner in self.learners.by_name().values():
            # Two time scales (Heusel et al., arXiv 1706.08500).
            is_generator = learner is self.learners.generator
            share = inputs.scheduled(self.config.generator_lr_share) if is_generator else 1.0
            learner.optimizer.param_groups[0].update(lr=share * lr, betas=betas)

    def state(self) -> State:
        """Return everything that later steps depend on."""
        return training_state.save_state(self.learners, self.images_shown)

    def load_state(self, state: State) -> None:
        """Continue from what `state` returned."""
        training_state.load_state(self.learners, state)
        self.images_shown = state["images_shown"]

    def start_from(self, state: State) -> list[str]:
        """Start a new run from another one's state; its images are counted from 0.

        Returns: what began anew, in words.
        Raises: RuntimeError, ValueError, KeyError: the generator does not fit.
        """
        return training_state.start_from(self.learners, state)
