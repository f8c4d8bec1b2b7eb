"""The Redis layer beside what all layers do: the wire format, outages, passwords, TLS, Sentinel, idleness."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import subprocess
import sys
import threading
import time

import msgpack
import psutil
import pytest

from daphne.errors import ConfigurationError, LayerUnavailable
from tests.layers.redis_server import RedisServer, free_port

pytest.importorskip("hiredis")

import hiredis
import redis as redis_py

from daphne.layers import redis_address, redis_connection
from daphne.layers.redis import ChannelLayer
from daphne.layers.redis_connection import Pipe

REQUEST = {"reply_channel": "http.response.x!y", "body": b"\0\xff", "headers": [[b"host", b"x"]]}


@pytest.fixture(scope="module")
def server():
    server = RedisServer().start()
    yield server
    server.close()


@pytest.fixture
def raw(server):
    client = redis_py.Redis(unix_socket_path=server.path)
    client.flushall()
    yield client
    client.close()


async def eventually(condition, seconds=60):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_message_is_a_key_in_a_list_and_a_body_of_its_own(server, raw):
    layer = ChannelLayer(hosts=[server.url], expiry=60)
    layer.send("http.request", REQUEST)
    [body_key] = raw.lrange("asgi:http.request", 0, -1)
    assert body_key.startswith(b"asgi:") and int(body_key[5:], 16)
    assert msgpack.unpackb(raw.get(body_key)) == REQUEST
    assert 59 <= raw.ttl(body_key) <= 60 and 60 <= raw.ttl("asgi:http.request") <= 61
    assert layer.receive(["http.request"]) == ("http.request", REQUEST)
    assert not raw.exists(body_key)


def test_a_local_channel_travels_under_the_reserved_key(server, raw):
    layer = ChannelLayer(hosts=[server.url], prefix="p:")
    layer.send("reply.x!one", {"a": 1})
    [body_key] = raw.lrange("p:reply.x!", 0, -1)
    assert msgpack.unpackb(raw.get(body_key)) == {"a": 1, "__asgi_channel__": "reply.x!one"}


def test_groups_are_sorted_sets_by_time(server, raw):
    ChannelLayer(hosts=[server.url]).group_add("chat", "reply.x!one")
    [(member, added)] = raw.zrange("asgi::group:chat", 0, -1, withscores=True)
    assert member == b"reply.x!one" and abs(added - time.time()) < 5
    assert 86390 <= raw.ttl("asgi::group:chat") <= 86400


def test_statistics_are_counters_that_expire(server, raw):
    layer = ChannelLayer(hosts=[server.url], capacity=1)
    layer.send("reply.x!one", {})
    with pytest.raises(layer.ChannelFull):
        layer.send("reply.x!one", {})
    assert raw.get("asgi-meta:reply.x!:messages_count") == b"1"
    assert raw.get("asgi-meta:reply.x!:channel_full_count") == b"1"
    assert raw.get("asgi-meta:#global#:messages_count") == b"1"
    assert 3590 <= raw.ttl("asgi-meta:reply.x!:messages_count") <= 3600
    assert 86390 <= raw.ttl("asgi-meta:#global#:messages_count") <= 86400
    assert layer.channel_statistics("reply.x!")["messages_pending"] == 1


def test_an_expired_body_is_passed_over(server, raw):
    layer = ChannelLayer(hosts=[server.url])
    layer.send("queue", {"number": 1})
    layer.send("queue", {"number": 2})
    raw.delete(raw.lindex("asgi:queue", 0))
    assert layer.receive(["queue"], block=True) == ("queue", {"number": 2})


def test_what_nobody_can_read_is_dropped_and_said(server, raw, caplog):
    layer = ChannelLayer(hosts=[server.url])
    for key, body in (
        ("asgi:1", b"\xc1"),
        ("asgi:2", msgpack.packb([1])),
        ("asgi:3", msgpack.packb({"a": 1})),
    ):
        raw.set(key, body)
        raw.rpush("asgi:queue", key)
    batch = asyncio.run(layer.receive_batch(["queue"]))
    assert batch == [("queue", {"a": 1})]
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2


def test_other_keys_and_late_messages_are_refused(server, raw, caplog):
    theirs = ChannelLayer(hosts=[server.url], symmetric_encryption_keys=["theirs"])
    ours = ChannelLayer(hosts=[server.url], symmetric_encryption_keys=["ours", "old"])
    old = ChannelLayer(hosts=[server.url], symmetric_encryption_keys=["old"])
    late = ChannelLayer(hosts=[server.url], symmetric_encryption_keys=["ours"], expiry=-11)
    theirs.send("queue", {"from": "theirs"})
    old.send("queue", {"from": "old"})
    assert b"from" not in raw.get(raw.lindex("asgi:queue", 0))
    assert ours.receive(["queue"]) == ("queue", {"from": "old"})
    ours.send("queue", {"from": "ours"})
    assert late.receive(["queue"]) == (None, None)
    assert "InvalidToken" in caplog.text


def test_a_lost_script_cache_is_no_matter(server, raw):
    layer = ChannelLayer(hosts=[server.url])
    layer.send("queue", {"number": 1})
    raw.script_flush()
    layer.send("queue", {"number": 2})
    assert [layer.receive(["queue"])[1]["number"] for _ in range(2)] == [1, 2]


def test_many_sends_are_one_write(server, raw):
    async def scenario():
        layer = ChannelLayer(hosts=[server.url])
        await layer.send_async("queue", {})
        before = raw.info("stats")["total_reads_processed"]
        await asyncio.gather(*(layer.send_async("queue", {"number": n}) for n in range(90)))
        reads = raw.info("stats")["total_reads_processed"] - before
        numbers = []
        while len(numbers) < 90:
            numbers += [message["number"] for _, message in await layer.receive_batch(["queue"]) if message]
        assert numbers == list(range(90))
        return reads

    assert asyncio.run(scenario()) < 20


def test_a_loop_that_ends_leaves_no_connection(server, raw):
    layer = ChannelLayer(hosts=[server.url])
    before = len(raw.client_list())
    for _ in range(3):
        asyncio.run(layer.send_async("queue", {}))
    deadline = time.monotonic() + 60
    while len(raw.client_list()) > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_of_many_receives_at_once_a_few_connections_stay(server, raw):
    def blocked():
        return sum(client["cmd"] == "blpop" for client in raw.client_list())

    async def scenario():
        layer = ChannelLayer(hosts=[server.url])
        await layer.send_async("queue", {})
        before = len(raw.client_list())
        receives = [asyncio.ensure_future(layer.receive_batch([f"own.{number}!"])) for number in range(30)]
        await eventually(lambda: blocked() == 30)
        for receive in receives:
            receive.cancel()
        await eventually(lambda: len(raw.client_list()) <= before + 10)
        await layer.close_async()

    asyncio.run(scenario())


def test_a_receive_that_is_cancelled_while_it_connects_leaves_no_connection(server, raw, monkeypatch):
    """Workers cancel theirs whenever the set of channels changes that they listen to."""
    receives = []
    submit = Pipe.submit

    def cancelling(pipe, *command):
        reply = submit(pipe, *command)
        if command == ("CLIENT", "ID") and receives[-1] in receives[:5]:
            asyncio.get_running_loop().call_soon(receives[-1].cancel)
        return reply

    def clients():
        """Which there are: those of earlier tests may still be leaving."""
        return {client["id"] for client in raw.client_list()}

    async def scenario():
        layer = ChannelLayer(hosts=[server.url])
        await layer.send_async("queue", {"a": 1})
        before = clients()
        for number in range(5):
            receives.append(asyncio.create_task(layer.receive_batch([f"mine.x{number}!"])))
            await asyncio.wait(receives)
        assert all(receive.cancelled() for receive in receives)
        await eventually(lambda: clients() <= before)
        receives.append(asyncio.create_task(layer.receive_batch(["queue"])))
        assert await receives[-1] == [("queue", {"a": 1})]
        await layer.close_async()

    monkeypatch.setattr(Pipe, "submit", cancelling)
    asyncio.run(scenario())


def test_the_classic_interface_works_from_any_thread(server, raw):
    layer = ChannelLayer(hosts=[server.url])
    answers = []

    def receive():
        while (answer := layer.receive(["queue"], block=True))[0] is None:
            pass
        answers.append(answer)

    threads = [threading.Thread(target=receive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        layer.send("queue", {"number": number})
    for thread in threads:
        thread.join(60)
    assert sorted(message["number"] for _, message in answers) == [0, 1, 2, 3]
    assert layer.receive(["queue"]) == (None, None)


def test_nothing_is_done_while_nothing_happens(server, raw):
    async def scenario():
        layer = ChannelLayer(hosts=[server.url])
        waiting = asyncio.ensure_future(layer.receive_batch(["queue", "reply.x!"]))
        await eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
        commands = raw.info("stats")["total_commands_processed"]
        used = psutil.Process().cpu_times()
        await asyncio.sleep(1)
        idle = psutil.Process().cpu_times()
        assert raw.info("stats")["total_commands_processed"] - commands <= 2  # our own questions
        assert idle.user + idle.system - used.user - used.system <= 0.05
        waiting.cancel()
        await asyncio.wait([waiting])
        await eventually(lambda: raw.info("clients")["blocked_clients"] == 0)
        await layer.close_async()

    asyncio.run(scenario())


# Outages


def test_an_outage_is_said_and_outlived(caplog):
    caplog.set_level(logging.INFO)
    server = RedisServer()

    async def scenario():
        layer = ChannelLayer(hosts=[server.url])
        with pytest.raises(LayerUnavailable):
            await layer.send_async("queue", {})
        receiving = asyncio.ensure_future(layer.receive_batch(["reply.x!"]))
        server.start()
        await sent(layer, 1)
        assert await receiving == [("reply.x!y", {"number": 1})]
        receiving = asyncio.ensure_future(layer.receive_batch(["reply.x!"]))
        await asyncio.sleep(0.1)
        server.stop()
        await eventually(lambda: "cannot be reached, trying again" in caplog.messages[-1])
        for _ in range(3):
            with pytest.raises(LayerUnavailable):  # at once, without waiting for anything
                layer.send_async("reply.x!y", {}).send(None)
        server.start()
        await sent(layer, 2)
        assert await receiving == [("reply.x!y", {"number": 2})]
        await layer.close_async()

    async def sent(layer, number):
        async with asyncio.timeout(60):
            while True:
                try:
                    return await layer.send_async("reply.x!y", {"number": number})
                except LayerUnavailable:
                    await asyncio.sleep(0.01)

    try:
        asyncio.run(scenario())
    finally:
        server.close()
    said = [record.getMessage() for record in caplog.records if record.name == "daphne.layers.redis"]
    assert [("can be reached again" in line) for line in said].count(True) == 2
    assert len(said) < 12


def test_a_connection_that_redis_cuts_comes_back(server, raw):
    async def scenario():
        layer = ChannelLayer(hosts=[server.url])
        receiving = asyncio.ensure_future(layer.receive_batch(["queue"]))
        await eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
        for client in raw.client_list():
            if client["cmd"] != "client|list":
                raw.client_kill_filter(_id=client["id"])
        await eventually(lambda: raw.info("clients")["blocked_clients"] == 1)
        await layer.send_async("queue", {"a": 1})
        assert await receiving == [("queue", {"a": 1})]
        await layer.close_async()

    asyncio.run(scenario())


def test_a_server_that_stands_still_is_away_until_it_moves(monkeypatch, caplog):
    """Its kernel keeps all connections up."""
    monkeypatch.setattr(redis_connection, "ANSWER_LIMIT", 0.3)
    caplog.set_level(logging.INFO)
    server = RedisServer().start()

    async def scenario():
        layer = ChannelLayer(hosts=[server.url])
        await layer.send_async("queue", {"number": 1})
        os.kill(server.pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            with pytest.raises(LayerUnavailable, match="not answered for 0.3 seconds"):
                await layer.send_async("queue", {"number": 2})
        with pytest.raises(LayerUnavailable):  # at once
            layer.send_async("queue", {"number": 3}).send(None)
        os.kill(server.pid, signal.SIGCONT)
        await eventually(lambda: "can be reached again" in caplog.messages[-1])
        await layer.send_async("queue", {"number": 4})
        await layer.close_async()

    try:
        asyncio.run(scenario())
    finally:
        server.close()


def test_a_process_that_stood_still_itself_blames_nobody(server, raw, monkeypatch, caplog):
    monkeypatch.setattr(redis_connection, "ANSWER_LIMIT", 1.0)

    def blocked():
        return [client["id"] for client in raw.client_list() if client["cmd"] == "blpop"]

    async def scenario():
        layer = ChannelLayer(hosts=[server.url])
        await layer.send_async("queue", {"number": 1})
        sending = asyncio.ensure_future(layer.send_async("queue", {"number": 2}))
        await asyncio.sleep(0)
        time.sleep(1.6)
        await sending
        receiving = asyncio.ensure_future(layer.receive_batch(["other"]))
        await eventually(lambda: blocked())
        at_first = blocked()
        await asyncio.sleep(1.6)  # a receive may wait for ever
        assert blocked() == at_first
        await layer.send_async("other", {"number": 3})
        assert await receiving == [("other", {"number": 3})]
        await layer.close_async()

    asyncio.run(scenario())
    assert not caplog.messages


# Addresses


def test_a_password_is_sent_and_never_logged(caplog):
    server = RedisServer("--requirepass", "open sesame", port=free_port())
    try:
        server.start()
        url = f"redis://:open%20sesame@127.0.0.1:{server.port}/3"
        layer = ChannelLayer(hosts=[url])
        layer.send("queue", {"a": 1})
        assert layer.receive(["queue"]) == ("queue", {"a": 1})
        with redis_py.Redis(unix_socket_path=server.path, password="open sesame", db=3) as raw:
            assert raw.keys("asgi-meta:*")
        for wrong in (f"redis://:sesame@127.0.0.1:{server.port}", ("127.0.0.1", server.port)):
            with pytest.raises(LayerUnavailable):
                ChannelLayer(hosts=[wrong]).send("queue", {})
    finally:
        server.close()
    assert "cannot be reached" in caplog.text and "sesame" not in caplog.text


def test_tls_is_verified(tmp_path):
    authority, certificate, key = certificates(tmp_path)
    port = free_port()
    server = RedisServer(
        *("--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key),
        *("--tls-ca-cert-file", authority, "--tls-auth-clients", "no"),
    )
    try:
        server.start()
        layer = ChannelLayer(hosts=[f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority}"])
        layer.send("queue", {"body": b"x" * 300_000})
        assert layer.receive(["queue"], block=True) == ("queue", {"body": b"x" * 300_000})
        with pytest.raises(LayerUnavailable, match="certificate|CERTIFICATE"):
            ChannelLayer(hosts=[f"rediss://127.0.0.1:{port}"]).send("queue", {})
    finally:
        server.close()


def certificates(directory):
    """Paths of a certificate for 127.0.0.1, of its key, and of the authority that signed it (itself)."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "daphne test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    assert ssl.create_default_context(cafile=directory / "certificate.pem")
    return tuple(str(directory / name) for name in ("certificate.pem", "certificate.pem", "key.pem"))


def test_sentinel_says_who_the_master_is(tmp_path):
    ports = [free_port(), free_port()]
    servers = [RedisServer(port=port).start() for port in ports]
    sentinel = RedisServer(port=free_port(), sentinel_of=ports[0])
    try:
        sentinel.start()
        host = {"sentinels": [("127.0.0.1", sentinel.port)], "master_name": "master"}

        async def scenario():
            layer = ChannelLayer(hosts=[host])
            await layer.send_async("queue", {"number": 1})
            assert await layer.receive_batch(["queue"]) == [("queue", {"number": 1})]
            with redis_py.Redis(port=sentinel.port) as control:  # the other is the master now
                control.execute_command("SENTINEL", "REMOVE", "master")
                control.execute_command("SENTINEL", "MONITOR", "master", "127.0.0.1", str(ports[1]), "1")
            with redis_py.Redis(port=ports[0]) as old:
                old.replicaof("127.0.0.1", ports[1])
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(LayerUnavailable):
                        await layer.send_async("queue", {"number": 2})
                        break
                    await asyncio.sleep(0.01)
            with redis_py.Redis(port=ports[1]) as new:
                assert new.llen("asgi:queue") == 1
            await layer.close_async()

        asyncio.run(scenario())
    finally:
        for server in (sentinel, *servers):
            server.close()


def test_a_master_that_stands_still_is_left_for_the_next(monkeypatch):
    """By what sends, by what waits to receive, and by a connection that is only half open."""
    monkeypatch.setattr(redis_connection, "ANSWER_LIMIT", 0.3)
    monkeypatch.setattr(redis_address, "CONNECT_TIMEOUT", 0.5)
    ports = [free_port(), free_port()]
    servers = [RedisServer(port=port).start() for port in ports]
    sentinel = RedisServer(port=free_port(), sentinel_of=ports[0])

    async def scenario():
        layer = ChannelLayer(hosts=[{"sentinels": [("127.0.0.1", sentinel.port)], "master_name": "master"}])
        receiving = asyncio.ensure_future(layer.receive_batch(["reply.x!"]))
        await layer.send_async("queue", {"number": 1})
        with redis_py.Redis(port=ports[0]) as old:
            await eventually(lambda: old.info("clients")["blocked_clients"] == 1)
        os.kill(servers[0].pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            with pytest.raises(LayerUnavailable):
                await layer.send_async("queue", {"number": 2})
            await asyncio.sleep(0.2)  # it is at the old master's door again
            with redis_py.Redis(port=sentinel.port) as control:
                control.execute_command("SENTINEL", "REMOVE", "master")
                control.execute_command("SENTINEL", "MONITOR", "master", "127.0.0.1", str(ports[1]), "1")
            while True:
                with contextlib.suppress(LayerUnavailable):
                    await layer.send_async("reply.x!y", {"number": 3})
                    break
                await asyncio.sleep(0.01)
            assert await receiving == [("reply.x!y", {"number": 3})]
        await layer.close_async()

    try:
        sentinel.start()
        asyncio.run(scenario())
    finally:
        for server in (sentinel, *servers):
            server.close()


@pytest.mark.parametrize(
    "refusal",
    [
        "-READONLY You can't write against a read only replica. script: 12",
        "-ERR Error running script (call to f_12): @user_script:1: -READONLY You can't write.",
    ],
    ids=["Redis 7", "Redis 5 and 6"],
)
def test_a_master_that_has_become_a_replica_is_left(refusal, tmp_path):
    """So that the next connection asks Sentinel anew. The server here only talks like one."""
    connections = []

    async def serve(reader, writer):
        connections.append(writer)
        commands = hiredis.Reader()
        while data := await reader.read(65536):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                writer.write(f"{refusal}\r\n".encode() if command[0] == b"EVALSHA" else b"+OK\r\n")
        writer.close()

    async def scenario():
        server = await asyncio.start_unix_server(serve, tmp_path / "socket")
        layer = ChannelLayer(hosts=[f"unix://{tmp_path / 'socket'}"])
        with pytest.raises(LayerUnavailable, match="READONLY"):
            await layer.send_async("queue", {})
        await eventually(lambda: len(connections) == 2)
        await layer.close_async()
        server.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("package", ["redis", "hiredis", "cryptography.fernet"])
def test_a_missing_package_is_named(package):
    program = f"""
import sys
sys.modules["{package}"] = None
from daphne.errors import ConfigurationError
from daphne.layers.redis import ChannelLayer
try:
    ChannelLayer(symmetric_encryption_keys=["key"])
except ConfigurationError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert package.partition(".")[0] in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("value", [2**64, {"a": {1: 2}}, object()])
def test_what_cannot_travel_is_refused(server, value):
    with pytest.raises(TypeError):
        ChannelLayer(hosts=[server.url]).send("queue", {"value": value})


@pytest.mark.parametrize(
    "arguments",
    [
        {"hosts": "redis://localhost"},
        {"hosts": ["http://localhost"]},
        {"hosts": [("localhost",)]},
        {"hosts": [{"sentinels": [("localhost", 1)], "master_name": "m", "nonsense": 1}]},
        {"symmetric_encryption_keys": "one key"},
    ],
)
def test_what_cannot_work_is_said_at_once(arguments):
    with pytest.raises(ConfigurationError):
        ChannelLayer(**arguments)
