"""Train or evaluate CAT-Seg. `python train_net.py --help` lists the options; configs are in configs/."""

from catseg.engine.command import load_model, main, run, start_training

__all__ = ["load_model", "main", "run", "start_training"]

if __name__ == "__main__":
    main()
