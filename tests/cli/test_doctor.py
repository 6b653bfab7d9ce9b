import json
from importlib import metadata

import pytest

from catseg.cli import checkup, self_test


def test_all_is_well(catseg, tmp_path):
    status, out, err = catseg("doctor", "--json")
    report = json.loads(out)
    assert (status, report["ok"]) == (0, True), err
    found = {finding["topic"]: finding for finding in report["findings"]}
    assert found["self-test on cpu"]["found"].startswith("probabilities agree within")
    assert str(tmp_path.parent) in found["cache of published weights"]["found"]
    assert {"system", "catseg", "packages", "detectron2", "ffmpeg", "cache folder", "device cpu"} <= found.keys()


def test_what_is_wrong_is_said_with_its_mend(catseg, monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy>=99", "no-such-package", 'pytest>=99; extra == "test"'])
    monkeypatch.setattr(checkup, "check_devices", lambda: iter([checkup.check_device("nonsense")]))
    status, out, _ = catseg("doctor")
    assert status == 1
    assert 'to mend it: pip install "numpy>=99"' in out
    assert "no-such-package: PROBLEM: not installed" in out
    assert "pytest>=99" not in out
    assert "self-test on nonsense: PROBLEM" in out
    assert out.endswith("3 problems\n")


def test_other_numbers_are_a_problem(monkeypatch):
    monkeypatch.setattr(self_test, "EXPECTED", self_test.EXPECTED + 0.01)
    finding = checkup.check_device("cpu")
    assert finding.state == checkup.PROBLEM
    assert "are off by 1.0e-02" in finding.found


def test_a_cache_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(checkup.os, "access", lambda *_: False)
    assert [finding.mend for finding in checkup.check_folders() if finding.state == checkup.PROBLEM] == [
        "make it writable, or name another folder by CATSEG_CACHE"
    ]


@pytest.mark.parametrize(("number", "shown"), [(0, "0 B"), (2048, "2.0 KiB"), (3 * 1024**4, "3072 GiB")])
def test_sizes(number, shown):
    assert checkup._bytes(number) == shown
