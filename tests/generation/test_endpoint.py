"""A served model, against a stub on this machine: what is sent, what is tried again, and what is told of errors."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from antiphon.config import ConfigError
from antiphon.errors import WrongValue
from antiphon.generation.endpoint import Endpoint, EndpointError, RemoteWriter, parsed
from antiphon.generation.written import Prompt, Writing

PROMPT = Prompt("Say it again.", "Text: {}\nAgain:", ((("a dog",), "the dog"),))
KEY = "sk-very-secret"


@contextmanager
def served(*answers):
    """A server that gives these answers in turn, the last for ever: a text, (status, headers, body), or a function."""
    seen = []

    class Stub(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, dict(self.headers), body))
            answer = answers[min(len(seen), len(answers)) - 1]
            answer = answer(body) if callable(answer) else answer
            if isinstance(answer, str):
                said = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
                answer = (200, {}, json.dumps(said))
            status, headers, text = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("ANTIPHON_TEST_KEY", KEY)


def _writer(url, **settings):
    slept = []
    cfg = Endpoint(url=url, model="m", key="ANTIPHON_TEST_KEY", timeout=5, **settings)
    return RemoteWriter(cfg, sleep=slept.append), slept


def test_what_is_sent_and_what_is_read():
    with served(" a hound \nText: more", "") as (url, seen):
        writer, _ = _writer(url + "/")
        assert writer.write(PROMPT, None, ["a dog", "a cat"], Writing(weight=0.0, max_tokens=9)) == ["a hound", ""]
    path, headers, body = seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "m", "messages": PROMPT.messages("a dog"), "max_tokens": 9, "temperature": 0}
    assert KEY not in writer.name + writer.cfg.to_yaml()


def test_scores_are_parsed():
    with served("4.5", " 3\n", "about 4", "7") as (url, _):
        assert _writer(url)[0].score(PROMPT, [("a", "b")] * 4) == [4.5, 3.0, None, None]
    assert [parsed(said) for said in ("0", "5.0", "5.1", "12", "3.25", "", "-1")] == [0.0, 5.0, *[None] * 5]


def test_a_busy_server_is_tried_again():
    busy = [(429, {"Retry-After": "7"}, "slow down"), (503, {}, ""), (500, {}, "")]
    with served(*busy, "well") as (url, seen):
        writer, slept = _writer(url, wait=0.5)
        assert writer.say([], 3) == "well"
        assert len(seen) == 4
    assert slept == [7.0, 1.0, 2.0]


def test_a_server_that_stays_broken():
    with served((500, {}, "ou\nch")) as (url, seen):
        writer, slept = _writer(url, tries=2)
        with pytest.raises(EndpointError, match="500 Internal Server Error: ou ch; gave up after 2 tries"):
            writer.say([], 3)
        assert (len(seen), len(slept)) == (2, 1)
    with pytest.raises(EndpointError, match="Connection refused; gave up after 2 tries"):
        writer.say([], 3)


def test_errors_that_no_further_try_mends_are_told_without_the_key():
    with served((401, {}, f"wrong key {KEY}")) as (url, seen):
        with pytest.raises(EndpointError, match=r"401 Unauthorized: wrong key \*\*\*; is the variable") as told:
            _writer(url)[0].say([], 3)
        assert len(seen) == 1
    assert KEY not in str(told.value)
    with (
        served((200, {}, '{"choices": []}')) as (url, _),
        pytest.raises(EndpointError, match=r"an answer without choices\[0\]"),
    ):
        _writer(url)[0].say([], 3)


def test_a_redirect_does_not_carry_the_key_along():
    with (
        served("stolen") as (other, robbed),
        served((302, {"Location": other + "/x"}, "")) as (url, _),
        pytest.raises(EndpointError, match="302 Found: ; a redirect is not followed"),
    ):
        _writer(url)[0].say([], 3)
    assert not robbed


def test_a_slow_server(monkeypatch):
    class Slow(BaseHTTPRequestHandler):
        def do_POST(self):
            waits.append(1)
            release.wait(5)

        def log_message(self, *_):
            pass

    from threading import Event

    waits, release = [], Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    cfg = Endpoint(url=f"http://127.0.0.1:{server.server_port}", model="m", timeout=0.1, tries=2, wait=0)
    with pytest.raises(EndpointError, match="timed out; gave up after 2 tries"):
        RemoteWriter(cfg).say([], 3)
    release.set()
    server.shutdown()
    server.server_close()
    thread.join()
    assert len(waits) == 2


def test_settings_that_cannot_be(monkeypatch):
    good = Endpoint(url="http://host/v1", model="m")
    with pytest.raises(ConfigError, match="without a name or password"):
        good.but(url="http://me:word@host/v1")
    with pytest.raises(ConfigError, match="the name of an environment variable"):
        good.but(key="sk-secret")
    with pytest.raises(
        WrongValue, match=r"weight=0.4 of contrastive generation wants logits, and http://host/v1 gives"
    ):
        RemoteWriter(good).write(PROMPT, PROMPT, ["a"], Writing())
    monkeypatch.delenv("ANTIPHON_TEST_KEY")
    with pytest.raises(EndpointError, match="the environment variable ANTIPHON_TEST_KEY is not set"):
        RemoteWriter(good.but(key="ANTIPHON_TEST_KEY")).say([], 3)
