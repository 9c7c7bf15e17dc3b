"""A stand-in for one web server behind TLS, reached through a proxy: what a program fetches from it is given here."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

_CERTIFICATE = """
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

host, path = sys.argv[1:]
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
day = datetime.timedelta(days=1)
now = datetime.datetime.now(datetime.timezone.utc)
made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
made = made.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
form = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
with open(path, "wb") as file:
    file.write(key.private_bytes(serialization.Encoding.PEM, *form))
    file.write(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
"""


@contextlib.contextmanager
def https_stub(python: Path, host: str, folder: Path, status: int, body: bytes) -> Iterator[dict[str, str]]:
    """Serve ``body`` as any address of ``host``.

    Args:
        python: an interpreter with the package ``cryptography``, which makes the certificate.
        host: whose certificate it shows.
        folder: for the certificate.
        status, body: the answer to every request.

    Yields:
        the environment variables that lead a program which uses ``requests`` here.
    """
    certificate = folder / "certificate.pem"
    subprocess.run([str(python), "-c", _CERTIFICATE, host, str(certificate)], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context, status, body), daemon=True)
        thread.start()
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield {"HTTPS_PROXY": proxy, "https_proxy": proxy, "REQUESTS_CA_BUNDLE": str(certificate), "NO_PROXY": ""}


def _serve(listener: socket.socket, context: ssl.SSLContext, status: int, body: bytes) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:  # closed: the test is over
            return
        with contextlib.suppress(OSError), plain:
            _read_head(plain)
            plain.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            with context.wrap_socket(plain, server_side=True) as secure:
                _read_head(secure)
                head = f"HTTP/1.1 {status} Answer\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                secure.sendall(head.encode() + body)


def _read_head(connection: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            raise OSError("the other side is gone")
        head += part
