"""Stop a training that cannot continue: losses or weights that are not finite, and a discriminator that has won."""

from __future__ import annotations

import math

from models.errors import TrainingDivergedError
from models.evidence import format_kimg
from training.gan.trainer import Trainer
from training.gan.updates import STATS
from training.runs.loggers import Tick

# At this logit margin on every pair, D's loss has no gradient left; if G does not reduce the margin, training is stuck.
WON_MARGIN = 20.0
WON_TICKS = 3
# G is reducing the margin if it shrinks to less than this share within a tick.
SHRINKING_MARGIN = 0.99
# Above this share of pairs ranked right, D is right on every pair.
WON_ACCURACY = 0.999
ADVICE = "Lower lr or raise gamma, in a new --out folder."


def check_finite(trainer: Trainer, tick: Tick) -> None:
    """Check the losses, which cover the steps so far, and the weights, which include the last update.

    Raises: TrainingDivergedError.
    """
    stats = {name: getattr(tick, name) for name in STATS}
    broken = next((name for name, value in stats.items() if not math.isfinite(value)), None)
    if broken is None and not trainer.learners.is_finite():
        broken = "a weight"
    if broken:
        values = ", ".join(f"{name} {value:.3g}" for name, value in stats.items())
        raise TrainingDivergedError(
            f"{broken} is not finite at {format_kimg(tick.kimg)} kimg ({values}). The last checkpoint is kept. {ADVICE}"
        )


def check_not_won(tick: Tick, won_margins: list[float]) -> list[float]:
    """Check that D has not won.

    Args: won_margins, the margins of the ticks just before that D won.
    Returns: those margins with this tick's, or nothing if D did not win this tick.
    Raises: TrainingDivergedError after WON_TICKS ticks.
    """
    is_shrinking = bool(won_margins) and tick.margin < SHRINKING_MARGIN * won_margins[-1]
    if tick.margin <= WON_MARGIN or tick.acc_pair <= WON_ACCURACY or is_shrinking:
        return []
    margins = [*won_margins, tick.margin]
    if len(margins) >= WON_TICKS:
        raise TrainingDivergedError(
            f"the discriminator has won at {format_kimg(tick.kimg)} kimg: it ranks every real image above its fake "
            f"(margins {', '.join(f'{margin:.3g}' for margin in margins)}), and the generator is not catching up. "
            f"The last checkpoint is kept. {ADVICE}"
        )
    return margins
