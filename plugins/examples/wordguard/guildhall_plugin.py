"""What a Guildhall plugin in Python needs besides its own code.

It speaks the protocol of hashicorp/go-plugin with the host: the handshake line,
the health check, the shutdown, and mutual TLS with certificates made at start.
A plugin says what it serves and calls serve:

    guildhall_plugin.serve(guildhall_plugin.Plugin(
        hooks={"task.will_create": will_create},   # (call, Change) -> Decision
        actions={"greet": greet},                  # (call, Action) -> Result
        check_settings=check))                     # (call) -> [(pointer, message)]

Raise Final where trying again will not help. Any other exception means "later"
to the host, where it tries again at all; its traceback goes to the host's log.
"""

import base64
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional

import grpc

from guildhall.plugin.v1 import host_pb2, host_pb2_grpc, plugin_pb2, plugin_pb2_grpc

COOKIE_VARIABLE = "GUILDHALL_PLUGIN"
COOKIE_VALUE = "guildhall.plugin.v1"
HANDSHAKE = "1|1"  # of go-plugin's own protocol, and of Guildhall's
MAX_MESSAGE = 4 << 20
WORKERS = 32  # threads are made when they are needed


class Final(Exception):
    """It cannot be done, and trying again will not help."""


class _Unserved(Exception):
    pass


@dataclass(frozen=True)
class Change:
    """One thing that is about to change. Both are as the hook documents them."""

    hook: str
    subject: dict
    draft: dict


@dataclass(frozen=True)
class Decision:
    """What becomes of a change: nothing set allows it as it is."""

    refusal: str = ""
    amend: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """An action that a person chose, and what it was called on, if anything."""

    name: str
    input: dict
    subject_type: str = ""
    subject_id: str = ""


@dataclass(frozen=True)
class Result:
    """What an action tells the person who ran it."""

    message: str = ""
    output: Any = None
    refusal: str = ""


@dataclass(frozen=True)
class Plugin:
    """What a plugin serves. The keys are the names of its manifest; of provides,
    point and name: "notification.send/sms"."""

    hear: Optional[Callable] = None  # (call, event)
    hooks: Mapping[str, Callable] = field(default_factory=dict)  # (call, Change) -> Decision
    actions: Mapping[str, Callable] = field(default_factory=dict)  # (call, Action) -> Result
    provides: Mapping[str, Callable] = field(default_factory=dict)  # (call, input) -> output
    inbound: Mapping[str, Callable] = field(default_factory=dict)  # (call, ReceiveRequest) -> ReceiveResponse
    schedules: Mapping[str, Callable] = field(default_factory=dict)  # (call, due)
    tasks: Mapping[str, Callable] = field(default_factory=dict)  # (call, payload, attempt)
    check_settings: Optional[Callable] = None  # (call) -> [(pointer, message)]


class Call:
    """For whom a request is, and the way back to the host while it lasts."""

    def __init__(self, message, context, host):
        self.organization_id = message.organization_id
        self.installation_id = message.installation_id
        self.actor_kind = message.actor_kind
        self.actor_id = message.actor_id
        self.settings_json = message.settings
        self.settings_version = message.settings_version
        self._grant = message.grant
        self._context = context
        self._host = host

    @property
    def settings(self):
        return json.loads(self.settings_json or b"{}")

    def time_remaining(self):
        """How many seconds the host still waits, or None."""
        return self._context.time_remaining()

    def host(self, method, request):
        """Call a method of the service Host: call.host("GetValue",
        host_pb2.GetValueRequest(key="seen")). Raises grpc.RpcError."""
        return getattr(self._host(), method)(
            request, timeout=self._context.time_remaining(), metadata=(("guildhall-grant", self._grant),)
        )

    def api(self, method, path, body=None):
        """Send a request of the HTTP API: (status, decoded body)."""
        raw = b"" if body is None else json.dumps(body).encode()
        answer = self.host("Request", host_pb2.RequestRequest(method=method, path=path, body=raw))
        return answer.status, json.loads(answer.body) if answer.body else None

    def log(self, message, **fields):
        """Write a line into the host's log."""
        texts = {name: str(value) for name, value in fields.items()}
        self.host("Log", host_pb2.LogRequest(level=host_pb2.LEVEL_INFO, message=message, fields=texts))


def _guarded(method):
    """Answers an exception of a handler with the status that the contract names."""

    def run(self, request, context):
        try:
            return method(self, request, Call(request.call, context, self.host))
        except Final as e:
            code, text = grpc.StatusCode.FAILED_PRECONDITION, str(e)
        except _Unserved as e:
            code, text = grpc.StatusCode.UNIMPLEMENTED, str(e)
        except Exception as e:
            traceback.print_exc()
            code, text = grpc.StatusCode.INTERNAL, f"{type(e).__name__}: {e}"
        context.abort(code, text[:1000])

    return run


def _named(kind, handlers, name):
    try:
        return handlers[name]
    except KeyError:
        raise _Unserved(f"there is no {kind} {name}") from None


def _json(value):
    return json.dumps(value, ensure_ascii=False).encode()


class Servicer(plugin_pb2_grpc.PluginServicer):
    """The service Plugin on top of a Plugin's handlers; host returns the stub of
    the service Host."""

    def __init__(self, plugin, host):
        self.plugin = plugin
        self.host = host

    @_guarded
    def Hear(self, request, call):
        if self.plugin.hear is None:
            raise _Unserved("it hears no events")
        # An answer after the deadline is none, and all of it would come again: the
        # last quarter of the time is for answering, or more where events take long.
        whole, longest = call.time_remaining(), 0.0
        for done, raw in enumerate(request.events):
            left = call.time_remaining()
            if left is not None and done > 0 and left < max(longest, whole / 4):
                return plugin_pb2.HearResponse(done=done)
            began = time.monotonic()
            try:
                self.plugin.hear(call, json.loads(raw))
            except Final:
                traceback.print_exc()  # passed over: it would come again for ever
            except Exception as e:
                traceback.print_exc()
                return plugin_pb2.HearResponse(done=done, error=f"{type(e).__name__}: {e}"[:1000])
            longest = max(longest, time.monotonic() - began)
        return plugin_pb2.HearResponse(done=len(request.events))

    @_guarded
    def Decide(self, request, call):
        hook = _named("hook", self.plugin.hooks, request.hook)
        answer = plugin_pb2.DecideResponse()
        for item in request.items:
            d = hook(call, Change(request.hook, json.loads(item.subject), json.loads(item.draft)))
            answer.decisions.add(refusal=d.refusal, amend=_json(d.amend) if d.amend else b"")
        return answer

    @_guarded
    def Act(self, request, call):
        act = _named("action", self.plugin.actions, request.action)
        r = act(call, Action(request.action, json.loads(request.input or b"{}"), request.subject_type, request.subject_id))
        return plugin_pb2.ActResponse(
            message=r.message, refusal=r.refusal, output=b"" if r.output is None else _json(r.output)
        )

    @_guarded
    def Provide(self, request, call):
        provide = _named("provider", self.plugin.provides, f"{request.point}/{request.name}")
        try:
            return plugin_pb2.ProvideResponse(output=_json(provide(call, json.loads(request.input or b"null"))))
        except Final as e:
            return plugin_pb2.ProvideResponse(refusal=str(e)[:1000])

    @_guarded
    def Receive(self, request, call):
        return _named("inbound entry", self.plugin.inbound, request.name)(call, request)

    @_guarded
    def RunSchedule(self, request, call):
        _named("schedule", self.plugin.schedules, request.name)(call, request.due.ToDatetime())
        return plugin_pb2.RunScheduleResponse()

    @_guarded
    def RunTask(self, request, call):
        _named("task", self.plugin.tasks, request.name)(call, request.payload, request.attempt)
        return plugin_pb2.RunTaskResponse()

    @_guarded
    def CheckSettings(self, request, call):
        answer = plugin_pb2.CheckSettingsResponse()
        if self.plugin.check_settings is not None:
            for pointer, message in self.plugin.check_settings(call):
                answer.errors.add(pointer=pointer, message=message)
        return answer


def _raw(answer):
    """A method whose messages are so small that they are written out here."""
    return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=None, response_serializer=None)


def _health(request, context):
    if request not in (b"", b"\x0a\x06plugin"):  # HealthCheckRequest{service: "plugin"}
        context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
    return b"\x08\x01"  # HealthCheckResponse{status: SERVING}


def _credentials(client_certificate):
    """The server's side of go-plugin's mutual TLS: a key of this process, and
    nobody but the owner of the client's certificate is let in."""
    from datetime import datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.utcnow()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=30 * 365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    credentials = grpc.ssl_server_credentials(
        [(private, certificate.public_bytes(pem))], root_certificates=client_certificate, require_client_auth=True
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    return credentials, base64.b64encode(der).decode().rstrip("=")


def _host_stub():
    """The stub of the service Host, connected when it is used first."""
    lock, made = threading.Lock(), []

    def stub():
        with lock:
            if not made:
                channel = grpc.insecure_channel(
                    "unix:" + os.environ["GUILDHALL_HOST_SOCKET"],
                    options=[("grpc.max_receive_message_length", MAX_MESSAGE)],
                )
                made.append(host_pb2_grpc.HostStub(channel))
            return made[0]

    return stub


def serve(plugin):
    """Serve the plugin until the host ends it."""
    if os.environ.get(COOKIE_VARIABLE) != COOKIE_VALUE:
        sys.exit("This is a plugin of Guildhall: it does not run by itself. Pack it with guildhall plugin pack.")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    def shutdown(request, context):
        ended.set()
        return b""

    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=WORKERS),
        options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)],
    )
    plugin_pb2_grpc.add_PluginServicer_to_server(Servicer(plugin, _host_stub()), server)
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": _raw(_health)}),
        grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": _raw(shutdown)}),
    ))
    folder = os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or tempfile.mkdtemp()
    path = os.path.join(folder, "plugin.sock")
    client = os.environ.get("PLUGIN_CLIENT_CERT")
    line = f"{HANDSHAKE}|unix|{path}|grpc"
    if client:
        credentials, certificate = _credentials(client.encode())
        bound = server.add_secure_port("unix:" + path, credentials)
        line += "|" + certificate
    else:
        bound = server.add_insecure_port("unix:" + path)
    if not bound:
        sys.exit(f"cannot listen on {path}")
    server.start()
    print(line, flush=True)
    ended.wait()
    server.stop(grace=None).wait()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # not sys.exit, which waits for handlers that hang
