"""Segment photographs into any classes that are named, and show the results.

Run `python demo/demo.py --help`.
"""

import argparse
import errno
import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import Picture, find_pictures
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

if TYPE_CHECKING:
    from catseg.inference import Segmentation

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

_EXAMPLES = """\
examples:
  python demo/demo.py --config-file configs/catseg_ade150.yaml --input photos/ --output out/ \\
      --opts MODEL.WEIGHTS model.pth
  python demo/demo.py --config-file configs/catseg_ade150.yaml --input a.jpg 'trip/**/*.png' --output out/ \\
      --classes "sofa | couch, night sky, cat" --side-by-side --scores --opts MODEL.WEIGHTS model.pth

results, for photos/trip/a.jpg:
  out/trip/a_overlay.png       the photograph with its classes, their names and a legend
  out/trip/a_labels.png        the class number of each pixel, as a coloured palette PNG (16 bits above 256 classes)
  out/trip/a_side_by_side.png  photograph and overlay                                          (--side-by-side)
  out/trip/a_scores.npz        probabilities of all classes: "scores", float16, (T, H, W); "names"     (--scores)
  out/trip/a_confidence.png    probability of the chosen class                                         (--scores)
  out/trip/a_class_scores.png  probabilities of the classes that cover most of the picture             (--scores)
  out/trip/a_shares.json       share of the pixels of each class
  out/summary.json             the same of all pictures, and those that failed
  out/index.html               a page that shows all of them
  Names keep the path relative to the folder given or, for several inputs, to the folder that holds all of them.

exit status:
  0    all pictures are done
  1    some pictures could not be read or segmented (they are listed at the end, the others are done), or the results
       could not be written
  2    wrong arguments, config, weights or classes, or no picture found; nothing was done
  130  interrupted with Ctrl-C; files are complete or absent, and --skip-existing goes on from there
"""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
_MAX_SCORE_MAPS = 12

logger = logging.getLogger("demo")


class OutputError(Exception):
    """Results cannot be written, and those of further pictures could not either."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; leaves the process with status 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        description="Segment photographs into any classes that are named.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="YAML file that describes the model")
    parser.add_argument(
        "--input", required=True, nargs="+", metavar="PATH", help="files, folders or (quoted) glob patterns"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="is made if it does not exist")
    parser.add_argument("--recursive", action="store_true", help="go into subfolders of folders")
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help='what to look for: "sofa | couch, night sky, cat" ("," between classes, "|" between synonyms), a .json or '
        ".txt file, or a shipped vocabulary such as ade20k_150; by default the classes of the config's test set",
    )
    parser.add_argument("--side-by-side", action="store_true", help="also write photograph and overlay in one picture")
    parser.add_argument(
        "--scores",
        action="store_true",
        help="also write per-class probabilities and heat maps; needs 4 bytes per pixel and class of memory",
    )
    parser.add_argument("--format", choices=("png", "jpg"), default="png", help="of the pictures (default: png)")
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out pictures that are done with the same settings; by default all are done again and replaced",
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; the last argument"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: of the command line, by default this process's.

    Returns:
        The exit status, as `--help` lists it.
    """
    args = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for name in ("demo", "catseg"):
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        pictures = find_pictures(args.input, args.output, recursive=args.recursive)
        job = Job(args, pictures)
    except KeyboardInterrupt:
        logger.error("interrupted before the first picture")
        return INTERRUPTED
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        logger.error("%s", error.args[0] if isinstance(error, KeyError) else error)
        return WRONG_USE
    try:
        with logging_redirect_tqdm():
            return job.run()
    except KeyboardInterrupt:
        logger.error(
            "interrupted, %d of %d pictures are done; --skip-existing goes on", len(job.records), len(pictures)
        )
        return INTERRUPTED
    except OutputError as error:
        logger.error("%s", error)
        return FAILED


class Job:
    """One run over a list of pictures.

    Attributes:
        records: what is known of each picture that is done.
        failed: why a picture is not, by its path.
    """

    def __init__(self, args: argparse.Namespace, pictures: Sequence[Picture]) -> None:
        """Read the config and the classes, and build the model.

        Raises:
            ValueError, OSError, KeyError, RuntimeError: if that is not possible.
        """
        # These take seconds to import, which --help and a wrong path do not wait for.
        from catseg.config import load_config
        from catseg.inference import Predictor
        from catseg.vocabulary import load_vocabulary

        self.args = args
        self.pictures = pictures
        self.records: list[dict[str, Any]] = []
        self.failed: dict[str, str] = {}
        self._refuse_to_replace_inputs()
        cfg = load_config(args.config_file, args.opts)
        classes = None if args.classes is None else load_vocabulary(args.classes)
        args.output.mkdir(parents=True, exist_ok=True)
        self.predictor = Predictor.from_config(args.config_file, args.opts)
        if classes is not None:
            self.predictor.classes = tuple(classes)
        if self.predictor.classes is None:
            raise ValueError("the config names no test set to take the classes from: give --classes")
        self.classes: tuple[str, ...] = self.predictor.classes
        self.weights: str = cfg.MODEL.WEIGHTS
        self._settings = [cfg.dump(), _file_state(Path(cfg.MODEL.WEIGHTS)), self.classes]
        self._settings += [args.scores, args.side_by_side, args.format]

    def run(self) -> int:
        """Do all pictures.

        Returns:
            The exit status.

        Raises:
            OutputError: if the results cannot be written.
        """
        for picture in tqdm(self.pictures, unit="picture", disable=None):
            try:
                self.records.append(self._finished(picture) or self._segment(picture))
            except OutputError:
                raise
            except Exception as error:
                reason = f"{error}" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}"
                self.failed[str(picture.path)] = reason
                logger.debug("%s", picture.path, exc_info=True)
        with _output_errors():
            self._write_summary()
        logger.info("%d of %d pictures are in %s", len(self.records), len(self.pictures), self.args.output)
        for path, reason in self.failed.items():
            logger.error("skipped %s: %s", path, reason)
        return FAILED if self.failed else DONE

    def _segment(self, picture: Picture) -> dict[str, Any]:
        result = self.predictor(picture.path, class_scores=self.args.scores)
        files = self._files(picture)
        with _output_errors():
            self._write_results(result, {kind: self.args.output / file for kind, file in files.items()})
            record = {
                "name": _relative_input(picture),
                "input": str(picture.path),
                "width": result.labels.shape[1],
                "height": result.labels.shape[0],
                "classes": result.share(),
                "mean_confidence": float(result.scores.mean()),
                "files": files,
                "settings": self._fingerprint(picture),
            }
            _write_json(self._record_file(picture), record)
        return record

    def _write_results(self, result: "Segmentation", files: dict[str, Path]) -> None:
        from catseg.visualization import heatmap, save_picture, score_grid, side_by_side

        overlay = result.overlay()
        save_picture(files["overlay"], overlay)
        result.save_labels(files["labels"])
        if "side by side" in files:
            save_picture(files["side by side"], side_by_side([result.image, overlay], ["image", "classes"]))
        if result.class_scores is not None:
            result.save_scores(files["scores"])
            save_picture(files["confidence"], heatmap(result.image, result.scores))
            shown = list(result.share())[:_MAX_SCORE_MAPS]
            maps = result.class_scores[[result.names.index(name) for name in shown]]
            save_picture(files["class scores"], score_grid(result.image, maps, shown))

    def _files(self, picture: Picture) -> dict[str, str]:
        """Name the results of a picture, relative to the output folder."""
        kinds = {"overlay": self.args.format, "labels": "png"}
        if self.args.side_by_side:
            kinds["side by side"] = self.args.format
        if self.args.scores:
            kinds |= {"scores": "npz", "confidence": self.args.format, "class scores": self.args.format}
        return {kind: f"{picture.name}_{kind.replace(' ', '_')}.{suffix}" for kind, suffix in kinds.items()}

    def _refuse_to_replace_inputs(self) -> None:
        inputs = {picture.path for picture in self.pictures}
        folder = self.args.output.absolute()
        for picture in self.pictures:
            for file in self._files(picture).values():
                if folder / file in inputs:
                    raise ValueError(f"the result {folder / file} would replace a picture: choose another --output")

    def _record_file(self, picture: Picture) -> Path:
        return self.args.output / f"{picture.name}_shares.json"

    def _fingerprint(self, picture: Picture) -> str:
        """Sum up everything that the results depend on."""
        text = json.dumps([self._settings, _file_state(picture.path)])
        return hashlib.sha256(text.encode()).hexdigest()

    def _finished(self, picture: Picture) -> dict[str, Any] | None:
        """Return the record of an earlier run with the same settings, whose results are all there."""
        if not self.args.skip_existing:
            return None
        try:
            record = json.loads(self._record_file(picture).read_text(encoding="utf-8"))
            same = record["settings"] == self._fingerprint(picture)
            whole = all((self.args.output / file).is_file() for file in record["files"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record if same and whole else None

    def _write_summary(self) -> None:
        from gallery import write_gallery

        summary = {
            "config_file": self.args.config_file,
            "weights": self.weights,
            "trained": self.predictor.trained,
            "classes": self.classes,
            "pictures": self.records,
            "failed": self.failed,
        }
        _write_json(self.args.output / "summary.json", summary)
        write_gallery(
            self.args.output / "index.html",
            self.records,
            self.classes,
            failed=self.failed,
            trained=self.predictor.trained,
        )


@contextmanager
def _output_errors() -> Iterator[None]:
    """Turn errors that every further result would meet too, such as a full disk, into `OutputError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OutputError(f"cannot write results: {error}; pictures done so far are kept") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from catseg.files import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _relative_input(picture: Picture) -> str:
    return Path(picture.name).with_name(picture.path.name).as_posix()


def _file_state(path: Path) -> list[int]:
    """Return what changes when a file is written again; nothing if there is no such file."""
    try:
        state = path.stat()
    except OSError:
        return []
    return [state.st_size, state.st_mtime_ns]


if __name__ == "__main__":
    sys.exit(main())
