"""A cluster of Ray on this machine, and an object store that speaks S3."""

import os
import secrets
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory):
    """Yields the address of a cluster of two processors, whose processes find what the tests import."""
    ray = pytest.importorskip("ray", reason='Ray is not installed: pip install "catseg[ray]"')
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # which would end processes when others take the memory
        patch.setenv("RAY_worker_register_timeout_seconds", "300")  # of a machine that is busy
        context = ray.init(
            num_cpus=2,
            object_store_memory=200 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _node_ip_address="127.0.0.1",
        )
        patch.setenv("RAY_ADDRESS", context.address_info["gcs_address"])
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def s3_bucket():
    """Yields the address of an empty bucket of a server on this machine, which the environment names."""
    server = pytest.importorskip("moto.server", reason="moto's server is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "of-nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
        running.stop()
