"""Certificates for one test or bench run, by the openssl command: an authority and what it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_NEW_KEY = ("-newkey", "rsa:2048", "-keyout")


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, PEM; `both` is the file that a broker takes as its key store."""

    certificate: Path
    key: Path

    @property
    def both(self) -> Path:
        """Key and certificate in one file."""
        path = self.certificate.with_suffix(".both")
        path.write_text(self.key.read_text() + self.certificate.read_text())
        return path


class Authority:
    """Signs certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key = folder, folder / f"{name}.key"
        self.certificate = folder / f"{name}.pem"
        extensions = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        self._openssl(
            "req",
            "-x509",
            "-nodes",
            *_NEW_KEY,
            self._key,
            "-out",
            self.certificate,
            "-subj",
            f"/CN={name}",
            *extensions,
        )

    def sign(self, name: str, host: str = "", *, days: int = 2, password: str = "") -> Signed:
        """For a server under a `host` (`DNS:…`, `IP:…`), else for a client; with -1 days it ended before it began."""
        signed = Signed(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={host}\n" if host else "extendedKeyUsage=clientAuth\n")
        protection = ("-passout", f"pass:{password}") if password else ("-nodes",)
        self._openssl("req", *_NEW_KEY, signed.key, *protection, "-out", request, "-subj", f"/CN={name}")
        own = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions)
        self._openssl("x509", "-req", "-in", request, *own, "-days", str(days), "-out", signed.certificate)
        return signed

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)  # noqa: S603, S607 - all of it is ours
