"""train_net.py from the command line, on real photographs in the shape of COCO-Stuff and ADE20K."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import train_net
from catseg.engine.setup import argument_parser, setup
from catseg.engine.trainer import Trainer
from tests.authors_configs import EVALUATION, write_authors_config
from tests.miniature import make_miniature_ade20k, make_miniature_coco_stuff
from tests.tiny import option_words, tiny_options

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "catseg_ade150.yaml"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with prepared data sets, the tiny network's files and the environment for commands."""
    folder = tmp_path_factory.mktemp("train_net")
    environment = {**os.environ, "DETECTRON2_DATASETS": str(folder), "CATSEG_CACHE": str(folder / "cache")}
    for make, script in (
        (make_miniature_coco_stuff, "prepare_coco_stuff.py"),
        (make_miniature_ade20k, "prepare_ade20k_150.py"),
    ):
        make(folder, 2, longest_side=96)
        command = [sys.executable, ROOT / "datasets" / script, "--root", folder, "--workers", "1", "--subset"]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder, environment


def command_line(folder, *flags, output, **overrides):
    options = {
        **tiny_options(folder),
        "OUTPUT_DIR": folder / output,
        "SEED": 5,
        "SOLVER.MAX_ITER": 2,
        "TEST.EVAL_PERIOD": 0,
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    return [sys.executable, str(ROOT / "train_net.py"), "--config-file", str(CONFIG), *flags, *option_words(options)]


def run(workplace, *flags, output, **overrides):
    folder, environment = workplace
    command = command_line(folder, *flags, output=output, **overrides)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    assert done.returncode == 0 or "Traceback" not in done.stderr, done.stderr
    return done


# What makes the weights depend smoothly on the gradients, so that runs can be compared.
SMOOTH = {"SOLVER__OPTIMIZER": "SGD", "SOLVER__BASE_LR": 0.1, "MODEL__SWIN__DROP_PATH_RATE": 0.0}


@pytest.fixture(scope="module")
def trained(workplace):
    """The folder of a finished run of two steps."""
    done = run(workplace, output="trained", **SMOOTH)
    assert done.returncode == 0, done.stderr
    assert "Process 0 of 1 on cpu" in done.stdout
    return workplace[0] / "trained"


def checkpoint(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)


def scores(folder):
    return json.loads((folder / "results.json").read_text())["results"]["ade20k_150_test_sem_seg"]["sem_seg"]


def test_training_writes_weights_and_results(trained):
    assert checkpoint(trained)["iteration"] == 1
    assert 0 <= scores(trained)["mIoU"] <= 100
    assert "IoU-tree" in scores(trained)
    assert (trained / "model_best.pth").is_file()
    assert (trained / "config.yaml").is_file()
    assert "catseg.engine" in (trained / "log.txt").read_text()


def test_two_processes_train_and_evaluate_like_one(workplace, trained):
    done = run(workplace, "--num-gpus", "2", output="two", **SMOOTH)
    assert done.returncode == 0, done.stderr
    assert "Process 0 of 2 on cpu" in done.stdout
    one, two = checkpoint(trained), checkpoint(workplace[0] / "two")
    torch.testing.assert_close(two["model"], one["model"], atol=1e-5, rtol=1e-4)
    assert scores(workplace[0] / "two") == pytest.approx(scores(trained), abs=0.5, nan_ok=True)


@pytest.mark.slow
def test_torchrun_starts_processes_that_train_like_those_of_num_gpus(workplace, trained):
    folder, environment = workplace
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, *command_line(folder, output="torchrun", **SMOOTH)[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Process 0 of 2 on cpu" in done.stdout
    torch.testing.assert_close(
        checkpoint(folder / "torchrun")["model"], checkpoint(trained)["model"], atol=1e-5, rtol=1e-4
    )


@pytest.mark.slow
def test_two_machines_of_torchrun_train_like_one(workplace, trained):
    """Two launchers with one process each, as on two machines; here, both are this one."""
    folder, environment = workplace
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint]
    launcher = [sys.executable, "-m", "torch.distributed.run", *words, "--local-addr", "127.0.0.1"]
    command = [*launcher, *command_line(folder, output="machines", **SMOOTH)[1:]]
    machines = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        for _ in range(2)
    ]
    logs = [machine.communicate(timeout=300)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], logs
    assert sum("Process 0 of 2 on cpu" in log for log in logs) == 1
    torch.testing.assert_close(
        checkpoint(folder / "machines")["model"], checkpoint(trained)["model"], atol=1e-5, rtol=1e-4
    )


@pytest.mark.slow
def test_processes_of_srun_find_one_another_and_end_with_one_message(workplace):
    folder, environment = workplace
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job = {"SLURM_NTASKS": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    command = command_line(folder, "--num-gpus", "3", output="srun", **SMOOTH)
    processes = [
        subprocess.Popen(
            command,
            env={**environment, **job, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    messages = []
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 1
        assert "Traceback" not in errors
        messages.append(errors.splitlines()[-1])
    assert messages[0].startswith("train_net.py: --num-gpus 3 contradicts srun, which started 2 processes")
    assert messages[1] == "train_net.py: process 1 ends, because another one did, which said why"


def test_weights_are_evaluated_and_predictions_written(workplace, trained):
    weights = trained / "model_final.pth"
    done = run(workplace, "--eval-only", output="evaluated", MODEL__WEIGHTS=weights, TEST__SAVE_PREDICTIONS="both")
    assert done.returncode == 0, done.stderr
    assert "RANDOM WEIGHTS" not in done.stdout
    folder = workplace[0] / "evaluated"
    assert scores(folder) == scores(trained)
    for kind in ("labels", "overlays"):
        assert len(list((folder / "evaluation" / "ade20k_150_test_sem_seg" / kind).iterdir())) == 2
    assert (folder / "eval_config.yaml").is_file()


def test_the_authors_config_and_command_line_give_the_same(workplace, trained, tmp_path):
    folder, environment = workplace
    # The network is the tiny one, in the authors' keys where they have one.
    tiny = {key: value for key, value in tiny_options(folder).items() if key != "MODEL.WEIGHTS"}
    tiny["MODEL.PROMPT_ENSEMBLE_TYPE"] = tiny.pop("MODEL.CLIP.TEMPLATES")
    tiny |= {"INPUT.SIZE_DIVISIBILITY": 64, "OUTPUT_DIR": tmp_path / "out"}
    command = [sys.executable, ROOT / "train_net.py", "--config", write_authors_config(tmp_path, "v1_large")]
    command += ["--num-gpus", "1", "--dist-url", "auto", "--eval-only", *EVALUATION]
    command += ["MODEL.WEIGHTS", trained / "model_final.pth", *option_words(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path / "out") == scores(trained)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "MODEL.SEM_SEG_HEAD.TEST_CLASS_JSON 'datasets/ade150.json' -> DATASETS.TEST_CLASSES 'ade20k_150'" in log


@pytest.fixture
def in_process(workplace, monkeypatch):
    """Sets the command line for calls of train_net's functions right here."""
    folder, environment = workplace

    def prepare(*flags, output, **overrides):
        monkeypatch.setenv("DETECTRON2_DATASETS", environment["DETECTRON2_DATASETS"])
        monkeypatch.setattr(sys, "argv", command_line(folder, *flags, output=output, **overrides)[1:])

    return prepare


def test_evaluating_random_weights_says_so(in_process, caplog):
    in_process("--eval-only", output="random")
    with caplog.at_level(logging.WARNING):
        train_net.load_model(setup(argument_parser("").parse_args()), "")
    assert "RANDOM WEIGHTS" in caplog.text


def test_a_second_run_does_not_mix_with_the_first(in_process, trained):
    in_process(output="trained")
    with pytest.raises(SystemExit, match=r"train_net\.py: .*trained holds an earlier training run .*--resume"):
        train_net.main()


def test_resume_goes_on_with_the_first_run(workplace, trained):
    (workplace[0] / "longer").symlink_to(trained)
    longer = {"SOLVER__MAX_ITER": 3, "DATASETS__TEST": ()}
    resumed = run(workplace, "--resume", output="longer", **longer, **SMOOTH)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming at iteration 2" in resumed.stdout
    assert "SOLVER.MAX_ITER 3 (was 2)" in resumed.stdout
    assert checkpoint(trained)["iteration"] == 2


def test_resume_with_other_options_is_refused_in_one_line(in_process, trained):
    in_process("--resume", output="trained", **SMOOTH | {"SOLVER__BASE_LR": 0.5})
    with pytest.raises(SystemExit, match=r"train_net\.py: .*other options.* SOLVER\.BASE_LR 0\.5 \(was 0\.1\)"):
        train_net.main()


def test_training_on_ade20k_takes_one_override(in_process):
    in_process(output="ade", DATASETS__TRAIN="('ade20k_150_train_sem_seg',)")
    stream = Trainer.build_train_loader(setup(argument_parser("").parse_args())).dataset
    assert stream.sample(0)["sem_seg"].shape == (64, 64)


def test_ctrl_c_ends_training_with_a_hint(workplace):
    folder, environment = workplace
    options = {"SOLVER__MAX_ITER": 10_000, "SOLVER__CHECKPOINT_PERIOD": 1, "DATALOADER__NUM_WORKERS": 1}
    command = command_line(folder, output="interrupted", **options)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 200
        while not (folder / "interrupted" / "last_checkpoint").exists():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "--resume goes on from" in output
    # No traceback of ours. Python prints one of its own if it was just handing a tensor from a worker to the process.
    assert "KeyboardInterrupt" not in output
    assert 'train_net.py", line' not in output
    assert not list((folder / "interrupted").glob(".*"))


def test_the_script_for_own_data_sets_trains_on_them(workplace, tmp_path):
    text = (ROOT / "datasets" / "README.md").read_text()
    script = tmp_path / "train_mine.py"
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    script.write_text(next(block for block in blocks if "train_net" in block))
    folder, environment = workplace
    for name, mode, suffix in (("images", "RGB", "jpg"), ("labels", "L", "png")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for index in range(2):
            Image.new(mode, (80, 64), 1).save(tmp_path / "mine" / name / f"{index}.{suffix}")
    data = {"DATASETS__TRAIN": "('mine_train',)", "DATASETS__TEST": "()", "SOLVER__MAX_ITER": 1}
    command = command_line(folder, "--num-gpus", "2", output="mine", **data)
    command[1] = str(script)
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=tmp_path)
    assert checkpoint(folder / "mine")["iteration"] == 0


def test_the_help_is_all_that_is_printed():
    done = subprocess.run([sys.executable, ROOT / "train_net.py", "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert done.stderr == ""


def test_a_checkpoint_is_all_that_is_needed(in_process, trained, caplog):
    files = {"MODEL__WEIGHTS": trained / "model_final.pth", "MODEL__CLIP__WEIGHTS": "missing/clip.safetensors"}
    for flags in (["--eval-only"], []):
        in_process(*flags, output="from_checkpoint", **files)
        args = argument_parser("").parse_args()
        cfg = setup(args)
        if args.eval_only:
            train_net.load_model(cfg, cfg.MODEL.WEIGHTS)
        else:
            train_net.start_training(cfg, args)
        assert cfg.MODEL.CLIP.WEIGHTS == "missing/clip.safetensors"


def test_weights_that_do_not_fit_are_named_in_one_line(in_process, trained):
    files = {"MODEL__WEIGHTS": trained / "model_final.pth", "MODEL__SEM_SEG_HEAD__HIDDEN_DIMS": 16}
    for flags in (["--eval-only"], []):
        in_process(*flags, output="misfit", **files)
        with pytest.raises(SystemExit, match=r"train_net\.py: .*model_final\.pth does not fit the network"):
            train_net.main()


@pytest.fixture
def damaged(workplace):
    """The path of an image of the test set, which is damaged during a test."""
    path = sorted((workplace[0] / "ADEChallengeData2016/images/validation").iterdir())[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    yield path
    path.write_bytes(content)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_in_one_line(workplace, trained, damaged, workers):
    files = {"MODEL__WEIGHTS": trained / "model_final.pth", "DATALOADER__NUM_WORKERS": workers}
    done = run(workplace, "--eval-only", output=f"damaged{workers}", **files)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"train_net.py: {damaged} cannot be decoded")
    assert "Traceback" not in done.stdout
    assert "Traceback" in (workplace[0] / f"damaged{workers}" / "log.txt").read_text()


def test_a_fault_keeps_its_traceback(in_process, trained, monkeypatch):
    monkeypatch.setattr("catseg.engine.command.evaluate", lambda *_, **__: {}["fault"])
    in_process("--eval-only", output="fault", MODEL__WEIGHTS=trained / "model_final.pth")
    with pytest.raises(KeyError):
        train_net.main()
    assert "KeyError: 'fault'" in (Path(trained).parent / "fault" / "log.txt").read_text()


@pytest.mark.parametrize("flag", [[], ["--debug"]])
def test_an_error_in_training_is_one_line_unless_debugging(in_process, monkeypatch, capsys, flag):
    def full_disk(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setenv("CATSEG_DEBUG", "")
    monkeypatch.setattr("catseg.checkpoint.checkpointer.Checkpointer.save", full_disk)
    in_process(*flag, output=f"full{len(flag)}", SOLVER__CHECKPOINT_PERIOD=1, DATASETS__TEST="()")
    with pytest.raises(OSError if flag else SystemExit, match="No space left on device"):
        train_net.main()
    assert ("Traceback" in capsys.readouterr().out) is bool(flag)


def test_an_output_folder_that_cannot_be_made_is_named_in_one_line(workplace):
    (workplace[0] / "a_file").touch()
    done = run(workplace, output="a_file")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train_net.py: ")
    assert "a_file" in done.stderr


def test_each_process_ends_without_a_traceback(workplace, trained):
    weights = {"MODEL__WEIGHTS": trained / "model_final.pth", "MODEL__SEM_SEG_HEAD__HIDDEN_DIMS": 16}
    done = run(workplace, "--num-gpus", "2", output="misfit_of_two", **weights)
    assert done.returncode == 1
    assert done.stderr.count("model_final.pth does not fit the network") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "gone.yaml"], "gone.yaml"),
        (["--config-file", str(CONFIG), "SOLVER.MAX_ITERS", "3"], "SOLVER.MAX_ITERS"),
        (["--config-file", str(CONFIG), "MODEL.WEIGHTS", ""], "prepare_coco_stuff.py"),
        (["--config-file", str(CONFIG), "MODEL.BACKBONE.NAME", "VANN"], "did you mean VAN"),
    ],
)
def test_mistakes_are_named_in_one_line(monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["train_net.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        train_net.main()
    assert stopped.value.code.startswith("train_net.py: ")
    assert message in stopped.value.code
