"""A run's state as a checkpoint holds it: saved, continued, and started from by another run.

One list says where a state keeps each network and its optimiser; all three walk it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from training.gan.learners import Learner, Learners
from training.gan.widening import adapt_classes, fits, load_widened

State = dict[str, Any]


class StateKeys(NamedTuple):
    """Where a state keeps a network and its optimiser; `section` is "" at the top."""

    section: str
    network: str
    optimizer: str

    def find(self, state: State) -> State:
        """Return the part of a state that has them; empty where the state's run had no such network."""
        found: State = (state.get(self.section) or {}) if self.section else state
        return found


# By the names of Learners.by_name; checkpoints of all versions have these keys.
KEYS = {
    "generator": StateKeys("", "G", "optimizer_G"),
    "discriminator": StateKeys("", "D", "optimizer_D"),
    "encoder": StateKeys("encoder", "E", "optimizer_E"),
    "projected discriminator": StateKeys("projected", "D", "optimizer_D"),
}


def save_state(learners: Learners, images_shown: int) -> State:
    """Return everything that later steps depend on."""
    state: State = {"images_shown": images_shown, "ema": learners.ema.state_dict()}
    for name, keys in KEYS.items():
        section = state.setdefault(keys.section, {}) if keys.section else state
        if learner := learners.by_name().get(name):
            section[keys.network] = learner.network.state_dict()
            section[keys.optimizer] = learner.optimizer.state_dict()
    return state


def load_state(learners: Learners, state: State) -> None:
    """Continue from what `save_state` returned; states of version 0.1 have further keys, which are ignored."""
    learners.ema.load_state_dict(state["ema"])
    for name, learner in learners.by_name().items():
        # A run may start from another run's checkpoint that lacks some networks.
        if saved := KEYS[name].find(state):
            learner.network.load_state_dict(saved[KEYS[name].network])
            learner.optimizer.load_state_dict(saved[KEYS[name].optimizer])


def start_from(learners: Learners, state: State) -> list[str]:
    """Start a new run from another one's state: keep what fits of its networks, averages and optimisers.

    A state may hold the generator only, or a narrower one, which is widened; other numbers of classes, and
    labels that do not allow its embedding, begin with a fresh one. Another network that does not fit begins anew.

    Returns: what began anew, in words.
    Raises: RuntimeError, ValueError, KeyError: the generator does not fit.
    """
    anew = _start_generator(learners, state)
    for name, learner in learners.by_name().items():
        if learner is not learners.generator:
            saved = KEYS[name].find(state)
            weights, optimizer = saved.get(KEYS[name].network), saved.get(KEYS[name].optimizer)
            anew += _load_fitting(name, learner, weights, optimizer, learners.constrain)
    return anew


def _start_generator(learners: Learners, state: State) -> list[str]:
    """Load the generator and its average, widened where they are narrower; return what began anew, in words."""
    network, optimizer = learners.generator
    weights, has_other_classes = adapt_classes(network, state["G"], learners.constrain)
    average, _ = adapt_classes(learners.ema, state.get("ema") or state["G"], learners.constrain)
    is_widened = load_widened(network, weights)
    load_widened(learners.ema, average)
    anew = ["the generator's embedding of the classes"] if has_other_classes else []
    if "optimizer_G" not in state or is_widened or has_other_classes:
        return [*anew, "the generator's optimiser"]
    optimizer.load_state_dict(state["optimizer_G"])
    return anew


def _load_fitting(
    name: str,
    learner: Learner,
    weights: dict[str, Tensor] | None,
    optimizer: State | None,
    constrain: Callable[[Tensor], Tensor] | None,
) -> list[str]:
    """Load a network and its optimiser as far as they fit; return what began anew, in words."""
    adapted, has_other_classes = adapt_classes(learner.network, weights, constrain) if weights else ({}, False)
    if not fits(learner.network, adapted):
        return [f"the {name}"]
    learner.network.load_state_dict(adapted)
    if has_other_classes:
        return [f"the {name}'s weights of the classes", f"the {name}'s optimiser"]
    if optimizer is None:
        return [f"the {name}'s optimiser"]
    learner.optimizer.load_state_dict(optimizer)
    return []
