"""The sandbox's private certificate authority: made at every start, its key never leaves this process's memory.

Leaf keys stand for seconds in a private temporary folder, because `ssl` reads them from files only.
"""

from __future__ import annotations

import os
import re
import ssl
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .clock import wall_clock

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAYS = 30
_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Authority:
    """Signs one certificate per host, on demand."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airflow-gar-provider sandbox")])
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        usage = _usage(signs_certificates=True)
        self.certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        self._contexts: dict[str, ssl.SSLContext] = {}

    def context(self, host: str) -> ssl.SSLContext:
        """The server side of TLS for one host."""
        if host not in self._contexts:
            self._contexts[host] = self._make_context(host)
        return self._contexts[host]

    def _make_context(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        # A common name ends at 64 characters; clients read the alternative name.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        leaf = (
            self._builder(name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = leaf.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._folder / f"leaf-{len(self._contexts)}.pem"
        file.touch(mode=0o600)
        file.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        file.unlink()
        # In this order: curl and uv offer both and must not land on the gRPC server, which gRPC clients reach all the
        # same because they offer h2 alone.
        context.set_alpn_protocols(["http/1.1", "h2"])
        return context

    def _builder(self, name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        # The key identifiers are what OpenSSL's strict mode (Python 3.13 and later) insists on.
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(wall_clock() - timedelta(days=1))
            .not_valid_after(wall_clock() + timedelta(days=_DAYS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), critical=False
            )
        )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def bundle(authority: bytes, environment: Mapping[str, str]) -> bytes:
    """The sandbox's certificate and every root that this machine trusts: package indexes are tunnelled, not played."""
    files = [Path(environment[name]) for name in _BUNDLE_VARIABLES if environment.get(name)]
    paths = ssl.get_default_verify_paths()
    files.extend(Path(name) for name in (paths.cafile, paths.openssl_cafile) if name)
    certificates = dict.fromkeys(_PEM.findall(authority))
    for file in files:
        if file.is_file() and os.access(file, os.R_OK):
            certificates.update(dict.fromkeys(_PEM.findall(file.read_bytes())))
    return b"\n".join(certificates) + b"\n"
