"""What the documentation says of version 2 of label-studio-ml, which is on no registry: the base class of a backend."""

import json
from xml.etree import ElementTree


class LabelStudioMLBase:
    """Made for each request; calls `setup` when it is."""

    def __init__(self, project_id=None, label_config=None):
        self.store = {"parsed_label_config": json.dumps(parsed(label_config))}
        self.setup()

    def set(self, key, value):
        self.store[key] = value

    def get(self, key):
        return self.store[key]

    @property
    def parsed_label_config(self):
        return json.loads(self.get("parsed_label_config"))

    def get_local_path(self, url, project_dir=None, ls_host=None, ls_access_token=None, task_id=None):
        assert task_id is not None, "files in cloud storage need it"
        return url


def parsed(label_config):
    """A labelling configuration as `label_studio_sdk`'s `parse_config` describes it."""
    tags = list(ElementTree.fromstring(label_config).iter())
    inputs = {
        tag.get("name"): {"type": tag.tag, "value": tag.get("value").lstrip("$")}
        for tag in tags
        if tag.get("value") and tag.get("name")
    }
    found = {}
    for tag in tags:
        if tag.get("name") and tag.get("toName"):
            labels = {label.get("alias") or label.get("value"): dict(label.attrib) for label in tag.iter("Label")}
            names = tag.get("toName").split(",")
            found[tag.get("name")] = {
                "type": tag.tag,
                "to_name": names,
                "inputs": [inputs[name] for name in names],
                "labels": list(labels),
                "labels_attrs": labels,
            }
    return found
