"""The training run: everything that Detectron2's trainer needs, put together from a config."""

import logging
import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, hooks
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, get_event_storage
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from catseg.build import build_network, check_trains
from catseg.checkpoint.checkpointer import Checkpointer
from catseg.console import INTERRUPTED
from catseg.data.registration import dataset_vocabulary
from catseg.engine.batch_norms import synchronise_batch_norms
from catseg.engine.evaluate import Results, build_evaluator, build_test_loader, evaluate, evaluate_datasets
from catseg.engine.hooks import EarlyEnd, EvaluationHook, build_checkpoint_hook
from catseg.engine.optimizer import build_optimizer
from catseg.engine.report import ReportHook
from catseg.engine.schedule import build_schedule
from catseg.engine.starting_weights import StartingWeights
from catseg.engine.training_data import build_train_loader, check_reference
from catseg.engine.training_step import TrainingStep, step_options
from catseg.engine.wandb_writer import WandbWriter
from catseg.errors import NotFiniteError, RunError
from catseg.modeling.meta_arch import CATSeg
from catseg.modeling.segmenter import OpenVocabularySegmenter

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Detectron2's trainer for CAT-Seg: see `TrainingStep` for a step and `TrainingStream` for the data.

    A run that is broken off and resumed ends with the same weights as one that is not (on a CPU, bit for bit).

    Args:
        cfg: of `setup`.
    """

    def __init__(self, cfg: CfgNode) -> None:
        check_reference(cfg)
        TrainerBase.__init__(self)  # Detectron2's own constructor builds parts that know no CPU and no resuming
        self.cfg = cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        model = self.build_model(cfg)
        if cfg.MODEL.SYNC_BATCH_NORM and cfg.MODEL.DEVICE == "cuda" and comm.get_world_size() > 1:
            synchronise_batch_norms(model)
        optimizer = self.build_optimizer(cfg, model)
        loader = self.build_train_loader(cfg)
        stream: Any = loader.dataset
        wrapped: nn.Module = model
        if comm.get_world_size() > 1:
            wrapped = DistributedDataParallel(model, broadcast_buffers=False)
        self._trainer = TrainingStep(
            model=wrapped,
            optimizer=optimizer,
            data_loader=loader,
            stream=stream,
            **step_options(cfg),
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = Checkpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self._plain_model = model
        self._start: StartingWeights | None = None
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Load the last checkpoint of OUTPUT_DIR if `resume` and there is one, else the weights MODEL.WEIGHTS.

        Raises:
            RuntimeError: if the machines of a run found different checkpoints.
        """
        if resume and not self.checkpointer.has_checkpoint():
            logger.warning("%s holds no checkpoint to resume from: training starts anew", self.cfg.OUTPUT_DIR)
            resume = False
        if not resume or self.cfg.SOLVER.WISE_FT_ALPHA < 1:
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])
        if self.cfg.SOLVER.WISE_FT_ALPHA < 1:
            self._start = StartingWeights(self._plain_model, self.cfg.SOLVER.WISE_FT_ALPHA)
        if resume:
            self.checkpointer.load(self.checkpointer.get_checkpoint_file())
            self.start_iter = self.iter + 1
            for group, lr in zip(self._trainer.optimizer.param_groups, self.scheduler.get_lr(), strict=True):
                group["lr"] = lr  # another one than in the checkpoint if SOLVER.MAX_ITER is
            logger.info("Resuming at iteration %d", self.start_iter)
        starts = comm.all_gather(self.start_iter)
        if len(set(starts)) > 1:
            raise RunError(f"processes start at iterations {starts}: all machines need to share one OUTPUT_DIR")

    def train(self) -> Any:
        """Run the training.

        Returns:
            The results of the last evaluation if the config has TEST.EXPECTED_RESULTS, else None.

        Raises:
            SystemExit: with status 130 after Ctrl-C, having said how to resume.
        """
        datasets = self.cfg.DATASETS
        self._plain_model.set_train_vocabulary(dataset_vocabulary(datasets.TRAIN[0], datasets.TRAIN_CLASSES))
        try:
            return super().train()
        except EarlyEnd:
            return None
        except KeyboardInterrupt:
            logger.warning("Interrupted in iteration %d. %s", self.iter, self._how_to_resume())
            raise SystemExit(INTERRUPTED) from None

    def run_step(self) -> None:
        """Run one step and log its losses.

        Raises:
            FloatingPointError: if the loss or the gradients are not finite.
        """
        try:
            metrics = self._trainer.run()
        except FloatingPointError as error:
            raise NotFiniteError(
                f"iteration {self.iter}: {error}. With SOLVER.AMP, bfloat16 may help; else a new run with a lower "
                "SOLVER.BASE_LR. "
                f"{self._how_to_resume()}"
            ) from error
        if comm.is_main_process():
            storage = get_event_storage()
            storage.put_scalar("total_loss", sum(value for name, value in metrics.items() if name != "data_time"))
            storage.put_scalars(**metrics)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs beside the weights."""
        return {**TrainerBase.state_dict(self), **self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        TrainerBase.load_state_dict(self, state_dict)
        self._trainer.load_state_dict(state_dict)

    def build_hooks(self) -> list[HookBase]:
        """Build the hooks: timing, schedule, checkpoints, evaluation, logs and the report, in this order."""
        built = [hooks.IterationTimer(), hooks.LRScheduler()]
        if comm.is_main_process():
            built.append(build_checkpoint_hook(self.cfg, self.checkpointer))
        if self.cfg.DATASETS.TEST:
            built.append(
                EvaluationHook(
                    evaluate=self._evaluate,
                    period=self.cfg.TEST.EVAL_PERIOD,
                    best_metric=self.cfg.TEST.BEST_METRIC,
                    checkpointer=self.checkpointer,
                    patience=self.cfg.TEST.PATIENCE,
                    weights=self._evaluated_weights,
                )
            )
        if comm.is_main_process():
            built += [hooks.PeriodicWriter(self.build_writers()), ReportHook(self.cfg)]
        return built

    def build_writers(self) -> list[EventWriter]:
        """Build Detectron2's writers of scalars and, if LOGGING.WANDB_PROJECT is set, that of Weights & Biases."""
        writers: list[EventWriter] = super().build_writers()
        if self.cfg.LOGGING.WANDB_PROJECT:
            writers.append(WandbWriter(self.cfg, resume=self.checkpointer.has_checkpoint()))
        return writers

    @classmethod
    def build_model(cls, cfg: CfgNode) -> CATSeg:
        """Build the model with its initial weights, see `catseg.build.build_network`."""
        check_trains(cfg)
        return cast(CATSeg, build_network(cfg))

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer, see `catseg.engine.optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        """Build the schedule of the learning rate, see `catseg.engine.schedule`."""
        return build_schedule(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> DataLoader:
        """Build the loader of endless training batches; its `dataset` is a `TrainingStream`."""
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> DataLoader:
        """Build the loader of a test set."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Build the evaluator of a test set."""
        return build_evaluator(cfg, dataset_name)

    @classmethod
    def test(cls, cfg: CfgNode, model: OpenVocabularySegmenter, evaluators: None = None) -> dict[str, Any]:
        """Evaluate a model on DATASETS.TEST.

        Returns:
            As Detectron2 has it: task -> metric -> value for one dataset, one such dict per dataset for several.
        """
        return _flat_if_single(evaluate(cfg, model, weights=cfg.MODEL.WEIGHTS or "initial weights"))

    def _evaluated_weights(self) -> AbstractContextManager[None]:
        return nullcontext() if self._start is None else self._start.mixed()

    def _evaluate(self) -> Results:
        steps = self.iter + 1 if self.iter < self.max_iter else self.max_iter
        results = evaluate_datasets(self.cfg, self._plain_model, weights=f"after {steps} of {self.max_iter} iterations")
        self._last_eval_results = _flat_if_single(results)
        return results

    def _how_to_resume(self) -> str:
        if not self.checkpointer.has_checkpoint():
            return f"No checkpoint was written to {self.cfg.OUTPUT_DIR} yet"
        return f"The same command with --resume goes on from {self.checkpointer.get_checkpoint_file()}"


def _flat_if_single(results: Results) -> dict[str, Any]:
    return next(iter(results.values())) if len(results) == 1 else dict(results)
