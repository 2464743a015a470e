"""A proxy between one driver and the server: records what the driver sends, changes what it gets.

It ends the client's TLS itself, so that it reads LOGIN7 too, and goes on without TLS.
"""

import socket
import ssl
import struct
import subprocess
import threading
from collections import namedtuple

from . import tds

Message = namedtuple("Message", "connection kind payload")
HEADER = 8
END_OF_MESSAGE = 0x01
DEFAULT_PACKET = 4096
PATIENCE = 60


def make_certificate(folder):
    """Throw-away, for the client's side. Returns a TLS context."""
    key, certificate = folder / "proxy.key", folder / "proxy.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # No session tickets after the handshake, which the clients would not expect outside of PRELOGIN.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


class Closed(Exception):
    pass


class Peer:
    """One side of a connection, which speaks in packets, for a time inside TLS."""

    def __init__(self, connection):
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.tls = None
        self.buffer = b""

    def receive(self, count):
        while len(self.buffer) < count:
            data = self.socket.recv(65536)
            if not data:
                raise Closed
            if self.tls:
                self.tls_in.write(data)
                try:
                    while data := self.tls.read(65536):
                        self.buffer += data
                except ssl.SSLWantReadError:
                    pass
            else:
                self.buffer += data
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def packet(self):
        kind, status, length = struct.unpack(">BBH", self.receive(HEADER)[:4])
        return kind, status, self.receive(length - HEADER)

    def message(self):
        """Kind, payload, size of the packets."""
        parts, status, kind = [], 0, 0
        while not status & END_OF_MESSAGE:
            kind, status, data = self.packet()
            parts.append(data)
        size = max(DEFAULT_PACKET, HEADER + max(len(part) for part in parts))
        return kind, status, b"".join(parts), size

    def send(self, kind, payload, size=DEFAULT_PACKET, status=END_OF_MESSAGE):
        room = size - HEADER
        pieces = [payload[at : at + room] for at in range(0, len(payload), room)] or [b""]
        for number, piece in enumerate(pieces, 1):
            # What else the status says, a reset connection say, the first packet says.
            own = (status & ~END_OF_MESSAGE) if number == 1 else 0
            own |= END_OF_MESSAGE if number == len(pieces) else 0
            packet = struct.pack(">BBHHBB", kind, own, HEADER + len(piece), 0, number % 256, 0) + piece
            if self.tls:
                self.tls.write(packet)
                packet = self.tls_out.read()
            self.socket.sendall(packet)

    def shake_hands(self, context):
        """TLS inside PRELOGIN packets, a flight in each."""
        self.tls_in, self.tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(self.tls_in, self.tls_out, server_side=True)
        while True:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            if self.tls_out.pending:
                self.send(tds.PRELOGIN, self.tls_out.read(), size=0xFFFF)
            if done:
                self.tls = tls
                return
            self.tls_in.write(self.packet()[2])


class Proxy:
    """`to_server` and `to_client` may change a message; the latter gets the request too."""

    def __init__(self, server_port, context, to_server=None, to_client=None):
        self.server_port, self.context = server_port, context
        self.to_server, self.to_client = to_server, to_client
        self.sent = []  # by clients, as they sent it
        self.changes = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def close(self):
        # When it was closed under the thread that waits on it, the next proxy missed connections at times.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join()
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.relay, args=(client, self.connections), daemon=True).start()

    def relay(self, client, number):
        try:
            with client, socket.create_connection(("127.0.0.1", self.server_port)) as server:
                self.serve(Peer(client), Peer(server), number)
        except (Closed, OSError):
            pass  # either side may go when it likes

    def serve(self, client, server, number):
        kind, _, payload, _ = client.message()
        at = tds.prelogin_encryption(payload)
        wanted = payload[at]
        server.send(kind, payload[:at] + bytes([tds.ENCRYPT_NOT_SUP]) + payload[at + 1 :])
        kind, _, payload, _ = server.message()
        at = tds.prelogin_encryption(payload)
        agreed = tds.ENCRYPT_ON if wanted == tds.ENCRYPT_REQ else wanted
        client.send(kind, payload[:at] + bytes([agreed]) + payload[at + 1 :])
        if agreed != tds.ENCRYPT_NOT_SUP:
            client.shake_hands(self.context)
        while True:
            kind, status, payload, size = client.message()
            self.sent.append(Message(number, kind, payload))
            if kind == tds.LOGIN7 and agreed == tds.ENCRYPT_OFF:
                client.tls = None
            request = payload
            if self.to_server:
                payload = self.count(payload, self.to_server(kind, payload))
            server.send(kind, payload, size, status)
            kind, status, payload, size = server.message()
            if self.to_client:
                payload = self.count(payload, self.to_client(request, payload))
            client.send(kind, payload, size, status)

    def count(self, before, after):
        self.changes += before != after
        return after

    def bytes_sent(self):
        return b"".join(message.payload for message in self.sent)
