"""One run on the generated data: a CLIP is pretrained, CAT-Seg is trained on top, and both are evaluated."""

import contextlib
import io
import json
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase, default_argument_parser
from tqdm import tqdm

from catseg import __version__
from catseg.atomic import write_json
from catseg.engine.evaluate import Results, evaluate
from catseg.engine.setup import setup, start_process
from catseg.engine.trainer import Trainer
from catseg.modeling.meta_arch import CATSeg
from catseg.modeling.sliding_window import WholeImage
from catseg.modeling.training_free.last_block import MASKCLIP, TrainingFreeBlock
from catseg.modeling.training_free.segmenter import TrainingFreeSegmenter, as_they_are
from catseg.shapes.pretrain_clip import Pretraining, pretrain_clip, read_report
from catseg.vocabulary import Vocabulary

RECORD = "run.json"


@dataclass(frozen=True)
class Job:
    """A run.

    Attributes:
        name: of its folders.
        output: folder of all runs.
        config_file: of the training.
        options: overrides of the config, KEY VALUE pairs.
        pretraining: how its CLIP is made.
        position: line of its progress bars on the screen.
    """

    name: str
    output: Path
    config_file: Path
    options: tuple[str, ...]
    pretraining: Pretraining
    position: int = 0

    @property
    def clip_folder(self) -> Path:
        """Return the output folder of the CLIP."""
        return self.output / "clip" / self.name

    @property
    def run_folder(self) -> Path:
        """Return the output folder of CAT-Seg."""
        return self.output / "runs" / self.name


def run_job(job: Job) -> None:
    """Make a run, unless it was made before with the same settings. `read_outcome` then tells what came out.

    Args:
        job: what to run. $DETECTRON2_DATASETS says where the data are.

    Raises:
        RuntimeError: if the CLIP is not good enough, see `pretrain_clip`.
        KeyError, OSError, ValueError: if config and options cannot be used, see `setup`.
    """
    weights = _pretrained(job)
    words = ["--config-file", str(job.config_file), *_options(job, weights)]
    settings = {"version": __version__, "options": words, "clip": read_report(job.clip_folder)["settings"]}
    if (job.run_folder / RECORD).is_file() and read_outcome(job)["settings"] == settings:
        return
    if job.run_folder.exists():
        shutil.rmtree(job.run_folder)
    args = default_argument_parser().parse_args(words)
    cfg = setup(args)
    with contextlib.redirect_stdout(io.StringIO()):  # the log goes to its file alone: several runs share the screen
        start_process(cfg, args)
    seconds, results = _train_and_evaluate(cfg, TrainingBar(f"{job.name}: training", job.position))
    report = read_report(job.clip_folder)
    outcome = {
        "settings": settings,
        "clip": report,
        "results": results,
        "seconds": {"pretraining": report["seconds"], **seconds},
    }
    write_json(job.run_folder / RECORD, outcome)


def read_outcome(job: Job) -> dict[str, Any]:
    """Read what came out of a finished run.

    Returns:
        `settings`; `clip`: the report on the CLIP; `results`: `catseg`, `raw` (the best of the cost volume, before
        CAT-Seg's training) and `control` (CAT-Seg, with the class names permuted), each as `evaluate` has them;
        `seconds`: of the stages.
    """
    return json.loads((job.run_folder / RECORD).read_text(encoding="utf-8"))


def _pretrained(job: Job) -> Path:
    """The CLIP's checkpoint; one that was made with other settings gives way."""
    make = partial(
        pretrain_clip, job.clip_folder, job.pretraining, title=f"{job.name}: pretraining", position=job.position
    )
    try:
        return make()
    except FileExistsError:
        shutil.rmtree(job.clip_folder)
        return make()


def _options(job: Job, weights: Path) -> list[str]:
    own = {
        "MODEL.CLIP.WEIGHTS": weights,
        "OUTPUT_DIR": job.run_folder,
        "SEED": job.pretraining.seed,
        "TEST.SAVE_PREDICTIONS": "labels",
    }
    return [*(str(word) for pair in own.items() for word in pair), *job.options]


def _train_and_evaluate(cfg: CfgNode, bar: HookBase) -> tuple[dict[str, float], dict[str, Results]]:
    """Train CAT-Seg; return the seconds of the stages, and the results of all three rows."""
    start = time.perf_counter()
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    model = trainer.model
    raw = raw_cost_volume(model)
    results = {"raw": evaluate(_elsewhere(cfg, "raw"), raw, weights="pretrained CLIP alone")}
    trained = time.perf_counter()
    trainer.register_hooks([bar])
    trainer.train()
    evaluated = time.perf_counter()
    results["catseg"] = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text(encoding="utf-8"))["results"]
    control: Any = PermutedNames(model.eval())
    results["control"] = evaluate(_elsewhere(cfg, "control"), control, weights="class names permuted")
    end = time.perf_counter()
    return {
        "training": round(evaluated - trained, 1),
        "raw and control": round(end - evaluated + trained - start, 1),
    }, results


def _elsewhere(cfg: CfgNode, folder: str) -> CfgNode:
    """Return the config for a further evaluation, which writes to a subfolder and saves no label maps."""
    other = cfg.clone()
    other.defrost()
    other.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / folder)
    other.TEST.SAVE_PREDICTIONS = ""
    return other


def raw_cost_volume(model: CATSeg) -> TrainingFreeSegmenter:
    """Make a model that labels every pixel by the highest cosine of CLIP's dense feature: what CAT-Seg starts from.

    Args:
        model: whose CLIP it shares; nothing else of it is used.
    """
    return TrainingFreeSegmenter(
        clip=model.clip,
        image_encoder=model.image_encoder,
        text_encoder=model.text_encoder,
        clip_input=model.clip_input,
        last_block=TrainingFreeBlock(MASKCLIP, residual=True, mlp=True),
        view=WholeImage(scoring=as_they_are),
        chunk_sizes=model.chunk_sizes,
    )


class PermutedNames(torch.nn.Module):
    """A model that is told, for every class, the name of another one: a control that no score may survive.

    Args:
        model: the model to be misled.
    """

    def __init__(self, model: CATSeg) -> None:
        super().__init__()
        self.model = model
        self.predict_labels = model.predict_labels

    def set_vocabulary(self, classes: Vocabulary) -> None:
        """Give each class the name of the next one in a random ring, so that none keeps its own."""
        ring = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
        following = dict(zip(ring.tolist(), ring.roll(-1).tolist(), strict=True))
        self.model.set_vocabulary(Vocabulary(classes.synonyms[following[index]] for index in range(len(classes))))


class TrainingBar(HookBase):
    """Shows the progress of a training.

    Args:
        title: shown before the bar.
        position: line on the screen.
    """

    def __init__(self, title: str, position: int) -> None:
        self._title = title
        self._position = position

    def before_train(self) -> None:
        """Show an empty bar."""
        trainer = self.trainer
        steps = trainer.max_iter - trainer.start_iter
        self._bar = tqdm(total=steps, desc=self._title, unit="step", position=self._position)

    def after_step(self) -> None:
        """Move on by a step."""
        self._bar.update()

    def after_train(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
