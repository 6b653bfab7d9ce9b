import json

import catseg as package


def test_the_registry_as_a_table_and_as_json(catseg):
    status, out, _ = catseg("models")
    assert status == 0
    names = [model.name for model in package.models()]
    assert [line.split()[0] for line in out.splitlines()[2:]] == names
    assert "37.9" in out
    assert [model["name"] for model in json.loads(catseg("models", "--json")[1])] == names
