"""A certificate authority for tests, like the one that the deployment makes."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Issued:
    """A certificate with its key, in PEM form."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.fingerprint = hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()

    def files(self, folder: Path, name: str) -> tuple[str, str]:
        """Write both; paths of certificate and key."""
        folder.mkdir(exist_ok=True)
        certificate, key = folder / f"{name}-certificate.pem", folder / f"{name}-key.pem"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return str(certificate), str(key)


class Authority:
    """Signs certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        builder = self._builder(self.name, self.key, timedelta(days=10)).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.certificate = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, left: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=20))
            .not_valid_after(now + left)
        )

    def issue(self, name: str, *, server: bool = False, left: timedelta = timedelta(days=5)) -> Issued:
        """A certificate for a client, or a server of that name; `left` is how long it is still good."""
        key = ec.generate_private_key(ec.SECP256R1())
        use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key, left).add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        if server:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return Issued(builder.sign(self.key, hashes.SHA256()), key)

    def write_secrets(self, folder: Path, server_name: str) -> None:
        """The files that front's delivery brings."""
        self.issue(server_name, server=True).files(folder, "worker-proxy")
        (folder / "worker-authority.pem").write_bytes(self.certificate)
