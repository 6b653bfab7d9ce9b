import sys

from benchmarks import import_time


def test_each_import_is_set_beside_that_of_torch(monkeypatch, capsys):
    monkeypatch.setattr(import_time, "BASE", "import json")
    monkeypatch.setattr(import_time, "STATEMENTS", {"nothing": "pass", "something": "import csv"})
    monkeypatch.setattr(sys, "argv", ["import_time.py", "--rounds", "1"])
    import_time.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["import", "nothing", "something"]
