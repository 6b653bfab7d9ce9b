"""The server: `label-studio-ml start integrations/label_studio`, `python _wsgi.py`, or `gunicorn _wsgi:app`."""

import argparse
import logging

from label_studio_ml.api import init_app
from model import CATSegBackend, load_model

logging.basicConfig(level=logging.INFO)
load_model()  # now, so that a wrong setting ends the server at once
app = init_app(model_class=CATSegBackend)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Label Studio ML backend of catseg.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("-p", "--port", type=int, default=9090)
    arguments = parser.parse_args()
    app.run(host=arguments.host, port=arguments.port)
