"""A test certificate authority, and the certificates a worker must accept or refuse."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Certificate"]

DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """The server side of TLS with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """Signs certificates; :attr:`file` is what a client trusts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        certificate = (
            self._builder(self._name, self._key.public_key(), self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / "authority.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def good(self) -> Certificate:
        """For ``localhost``, 127.0.0.1 and ::1, valid now."""
        return self._issue("good", ["localhost", "127.0.0.1", "::1"])

    def expired(self) -> Certificate:
        """For the right names, valid until yesterday."""
        return self._issue("expired", ["localhost", "127.0.0.1"], ends_in=-DAY)

    def wrong_host(self) -> Certificate:
        """Valid, for another host."""
        return self._issue("wrong-host", ["broker.example.org"])

    def self_signed(self) -> Certificate:
        """For the right names, signed by itself."""
        return self._issue("self-signed", ["localhost", "127.0.0.1"], by_itself=True)

    def incomplete(self) -> Certificate:
        """For the right names, valid now, without an extension that RFC 5280 asks for: which key signed it."""
        return self._issue("incomplete", ["localhost", "127.0.0.1"], names_signer=False)

    def _issue(
        self,
        stem: str,
        hosts: list[str],
        *,
        ends_in: dt.timedelta = DAY,
        by_itself: bool = False,
        names_signer: bool = True,
    ) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        issuer, issuer_key = (name, key) if by_itself else (self._name, self._key)
        builder = self._builder(name, key.public_key(), issuer, ends_in=ends_in).add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
        if names_signer:
            signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
            builder = builder.add_extension(signer, critical=False)
        certificate = builder.sign(issuer_key, hashes.SHA256())
        files = Certificate(self._directory / f"{stem}.pem", self._directory / f"{stem}.key")
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        # The broker runs as whoever starts it and has to read the key.
        files.key.chmod(0o600)
        return files

    @staticmethod
    def _builder(
        subject: x509.Name, public_key: ec.EllipticCurvePublicKey, issuer: x509.Name, *, ends_in: dt.timedelta = DAY
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now + ends_in)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
