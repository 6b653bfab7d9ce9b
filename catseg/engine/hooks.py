"""What happens between training steps beside Detectron2's own hooks.

Detectron2's `EvalHook` and `BestCheckpointer` are not used: they forget the best value when a run is resumed and then
replace better weights with worse ones, they save through `Checkpointer.save`, which would make the best weights the
ones that a run is resumed from, and they name metrics without their data set, of which there may be several here.
"""

import json
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm

from catseg.atomic import write_json
from catseg.checkpoint.checkpointer import Checkpointer
from catseg.checkpoint.files import BEST
from catseg.config_checks import check_at_least
from catseg.engine.evaluate import Results, find_metric
from catseg.evaluation.confusion import overall_metrics

logger = logging.getLogger(__name__)


def check_checkpoints(cfg: CfgNode) -> None:
    """Check how often a run writes checkpoints, how many it keeps, and when it ends early.

    Raises:
        ValueError: if SOLVER.CHECKPOINT_PERIOD is below 1, or SOLVER.CHECKPOINTS_KEPT or TEST.PATIENCE below 0.
    """
    check_at_least(1, {"SOLVER.CHECKPOINT_PERIOD": cfg.SOLVER.CHECKPOINT_PERIOD})
    check_at_least(0, {"SOLVER.CHECKPOINTS_KEPT": cfg.SOLVER.CHECKPOINTS_KEPT, "TEST.PATIENCE": cfg.TEST.PATIENCE})


def build_checkpoint_hook(cfg: CfgNode, checkpointer: Checkpointer) -> "CheckpointHook":
    """Build the hook that writes checkpoints as SOLVER says.

    Raises:
        ValueError: as `check_checkpoints`.
    """
    check_checkpoints(cfg)
    return CheckpointHook(checkpointer, period=cfg.SOLVER.CHECKPOINT_PERIOD, kept=cfg.SOLVER.CHECKPOINTS_KEPT)


class CheckpointHook(hooks.PeriodicCheckpointer):
    """Detectron2's, except that the newest checkpoints are those of the folder, and not of this process alone.

    So the ones of a run before `--resume` count too. `model_final.pth` and `model_best.pth` stay beside them.

    Args:
        checkpointer: writes the checkpoints.
        period: steps from one to the next.
        kept: how many to keep; 0 for all.
    """

    def __init__(self, checkpointer: Checkpointer, *, period: int, kept: int) -> None:
        super().__init__(checkpointer, period)
        self._kept = kept

    def after_step(self) -> None:
        """Write a checkpoint if it is time to, and remove the ones that are too many then."""
        super().after_step()
        if self._kept and (self.trainer.iter + 1) % self.period == 0:
            # By age: where the run was taken back to an earlier checkpoint, the higher numbers are the older files.
            written = Path(self.checkpointer.save_dir).glob(f"{self.file_prefix}_{'[0-9]' * 7}.pth")
            for path in sorted(written, key=lambda path: (path.stat().st_mtime_ns, path.name))[: -self._kept]:
                path.unlink()


class EarlyEnd(BaseException):
    """Ends a training before SOLVER.MAX_ITER: raised by a hook, caught by `Trainer.train`."""


class EvaluationHook(HookBase):
    """Evaluates now and then and after the last step, keeps the best weights, and ends a training that gets no better.

    The best weights are `model_best.pth`; `model_best.json` beside it says the metric, its value and the iteration,
    and is what a resumed run compares with.

    Args:
        evaluate: evaluates the current weights; run by every process.
        period: steps from one evaluation to the next; 0 for none but the last.
        best_metric: what `find_metric` is asked for; larger is better.
        checkpointer: writes the weights.
        patience: evaluations in a row without better weights after which training ends; 0 for never.
        weights: gives the model the weights that are evaluated and kept, for as long as its context lasts.
    """

    def __init__(
        self,
        *,
        evaluate: Callable[[], Results],
        period: int,
        best_metric: str,
        checkpointer: Checkpointer,
        patience: int = 0,
        weights: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._evaluate = evaluate
        self._period = period
        self._best_metric = best_metric
        self._checkpointer = checkpointer
        self._patience = patience
        self._weights = weights
        self._evaluated = 0  # steps before the last evaluation

    def after_step(self) -> None:
        """Evaluate if it is time to.

        Raises:
            EarlyEnd: if that was once too often without better weights.
        """
        steps = self.trainer.iter + 1
        if self._period > 0 and steps % self._period == 0 and steps != self.trainer.max_iter:
            self._run(steps)
            if self._patience and self._evaluations_since_best(steps) >= self._patience:
                self._end(steps)

    def after_train(self) -> None:
        """Evaluate, unless training was broken off or this was done."""
        if self.trainer.iter >= self.trainer.max_iter > self._evaluated:
            self._run(self.trainer.max_iter)

    def _evaluations_since_best(self, steps: int) -> int:
        """Return how many evaluations the best weights are old; as the file tells it, which a resumed run reads too."""
        record = Path(self._checkpointer.save_dir) / f"{BEST}.json"
        best = json.loads(record.read_text())["iteration"] + 1 if record.is_file() else 0
        return (steps - best) // self._period

    def _end(self, steps: int) -> None:
        logger.info(
            "Training ends after %d of %d iterations: %d evaluations in a row brought no better %s",
            *(steps, self.trainer.max_iter, self._patience, self._best_metric),
        )
        self._checkpointer.save("model_final", iteration=steps - 1)
        self.trainer.iter = self.trainer.max_iter = steps
        raise EarlyEnd

    def _run(self, steps: int) -> None:
        with self._weights():
            results = self._evaluate()
            if comm.is_main_process() and results:
                self._log(results)
                self._keep_best(find_metric(results, self._best_metric), steps)
        self._evaluated = steps
        comm.synchronize()

    def _log(self, results: Results) -> None:
        for dataset, tasks in results.items():
            prefix = f"{dataset}/" if len(results) > 1 else ""
            for task, metrics in tasks.items():
                for name, value in overall_metrics(metrics).items():
                    if math.isfinite(value):  # metrics.json, which Detectron2 writes, would hold NaN
                        self.trainer.storage.put_scalar(f"{prefix}{task}/{name}", value, smoothing_hint=False)

    def _keep_best(self, value: float, steps: int) -> None:
        record = Path(self._checkpointer.save_dir) / f"{BEST}.json"
        best = _read_best(record, self._best_metric)
        if math.isnan(value) or (best is not None and value <= best):
            logger.info("%s is %.4f, not above the best so far, %s", self._best_metric, value, best)
            return
        self._checkpointer.save_weights(BEST, iteration=steps - 1)
        write_json(record, {"metric": self._best_metric, "value": value, "iteration": steps - 1})
        logger.info("%s is %.4f, the best so far: saved as %s.pth", self._best_metric, value, BEST)


def _read_best(record: Path, metric: str) -> float | None:
    if not (record.is_file() and record.with_suffix(".pth").is_file()):
        return None
    best = json.loads(record.read_text())
    return best["value"] if best["metric"] == metric else None
