import pytest

from catseg.shapes import demo


def test_hands_its_options_on(catseg, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(demo, "demo", lambda args: seen.append(args) or 0)
    assert catseg("demo", "--short", "--seeds", "1", "2", "-o", tmp_path / "shapes")[0] == 0
    [args] = seen
    assert (args.short, args.seeds, args.output, args.scale) == (True, [1, 2], tmp_path / "shapes", 1.0)


def test_wrong_use(catseg):
    status, _, err = catseg("demo", "--scale", "0")
    assert status == 2
    assert "--scale must be positive" in err


@pytest.mark.parametrize("words", [["list"], ["status"], ["status", "ade20k_150_test_sem_seg"]])
def test_data_shows_benchmarks(catseg, words):
    status, out, _ = catseg("data", *words)
    assert status == 0
    assert "ade20k_150_test_sem_seg" in out
