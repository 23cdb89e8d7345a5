"""A real nginx in front of two services: a path prefix, kept-alive connections, a rolling restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.live.metrics import read_metric
from tests.live.server import Server, find_free_port, run_server
from tests.waiting import TIMEOUT_S, wait_until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light")
NUM_REQUESTS = int(os.environ.get("GANMINT_TEST_RESTART_REQUESTS", "300"))
PREFIX = "/images"
# As docs/deploying.md says: nginx keeps connections for 60 s, less than the service does.
CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream ganmint {{ {servers} keepalive 32; keepalive_timeout 60s; }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
  proxy_next_upstream error timeout http_502 http_503 non_idempotent;
  server {{ listen 127.0.0.1:{port}; location {prefix}/ {{ proxy_pass http://ganmint; }} }}
  server {{ listen 127.0.0.1:{stripping_port}; location {prefix}/ {{ proxy_pass http://ganmint/; }}
    location /named/ {{
      proxy_pass http://ganmint/; proxy_set_header X-Forwarded-Prefix /named;
      proxy_set_header Connection ""; proxy_set_header Host $http_host;
    }}
  }}
}}
"""


@contextlib.contextmanager
def run_nginx(folder: Path, services: list[Server]) -> Iterator[tuple[str, str]]:
    """Run nginx; yields the URL under which it keeps the prefix, and the one under which it removes it."""
    port, stripping_port = find_free_port(), find_free_port()
    servers = " ".join(f"server {service.url.removeprefix('http://')} max_fails=0;" for service in services)
    text = CONFIGURATION.format(folder=folder, servers=servers, prefix=PREFIX, port=port, stripping_port=stripping_port)
    (folder / "nginx.conf").write_text(text)
    assert NGINX
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
    urls = f"http://127.0.0.1:{port}{PREFIX}", f"http://127.0.0.1:{stripping_port}{PREFIX}"

    def has_started() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(urls[0] + "/readyz").status_code == 200
        return False

    try:
        wait_until(has_started, "nginx serves")
        yield urls
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def start(home: Path, log: Path, port: int | None = None) -> contextlib.AbstractContextManager[Server]:
    return run_server(
        home, log, port, GANMINT_ROOT_PATH=PREFIX, GANMINT_TRUST_FORWARDED_PREFIX="1", GANMINT_DRAIN_PAUSE_S="2"
    )


def check_prefix(url: str) -> None:
    prefix = httpx.URL(url).path
    with httpx.Client(follow_redirects=True) as client:
        image = client.get(f"{url}/v1/images/tiny/1.0.0/7/0.png")
        assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
        assert image.headers["content-location"].startswith(f"{prefix}/v1/images/")
        assert str(client.get(f"{url}/v1/of/tiny/hello.png").url).startswith(f"{url}/v1/images/")
        redirected = client.get(f"{url}/docs/")
        assert (redirected.status_code, str(redirected.url)) == (200, f"{url}/docs")
        assert f"{prefix}/openapi.json" in redirected.text
        assert client.get(f"{url}/openapi.json").json()["servers"] == [{"url": prefix}]
        assert "v1/models" in client.get(f"{url}/").text
        assert client.get(f"{url}/v1/models").status_code == 200


async def send_until(url: str, statuses: list[int], stop: asyncio.Event) -> None:
    async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=False) as client:
        while not stop.is_set() or len(statuses) < NUM_REQUESTS:
            body = {"model": "tiny", "seed": len(statuses)}
            response = await client.post(f"{url}/generate", json=body, headers={"Accept": "image/png"})
            statuses.append(response.status_code)
            await asyncio.sleep(0.02)


def test_two_services_behind_nginx_under_a_prefix_restart_without_loss(home: Path, tmp_path: Path) -> None:
    async def main(urls: tuple[str, str], services: list[Server], stack: contextlib.ExitStack) -> Counter[int]:
        statuses: list[int] = []
        stop = asyncio.Event()
        clients = [asyncio.create_task(send_until(urls[k % 2], statuses, stop)) for k in range(8)]

        async def wait_for_more() -> None:
            count = len(statuses) + NUM_REQUESTS // 5
            while len(statuses) < count:
                await asyncio.sleep(0.02)

        for k, service in enumerate(services):
            await wait_for_more()
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, TIMEOUT_S) == 0
            port = httpx.URL(service.url).port
            again = start(home, service.log.with_name(f"restarted-{k}"), port)
            services[k] = await asyncio.to_thread(stack.enter_context, again)
        await wait_for_more()
        stop.set()
        await asyncio.gather(*clients)
        return Counter(statuses)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        logs = [tmp_path / "first", tmp_path / "second"]
        services = list(pool.map(lambda log: stack.enter_context(start(home, log)), logs))
        (tmp_path / "nginx").mkdir()
        urls = stack.enter_context(run_nginx(tmp_path / "nginx", services))
        for url in (*urls, urls[1].removesuffix(PREFIX) + "/named"):
            check_prefix(url)
        statuses = asyncio.run(main(urls, services, stack))
        series = 'ganmint_requests_total{code="200",method="POST",route="/generate"}'
        served = [read_metric(service, series) for service in services]
    print(f"{statuses.total()} requests through nginx: {dict(statuses)}")
    assert set(statuses) == {200} and statuses.total() >= NUM_REQUESTS
    assert min(served) > 0
