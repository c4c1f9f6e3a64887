"""A mail server with TLS and a login that puts each message into a folder.

usage: smtp.py FOLDER CERTIFICATE KEY PORT
"""

import pathlib
import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

folder, certificate, key, port = sys.argv[1:]


class Keep:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        if (pathlib.Path(folder) / "busy").exists():
            (pathlib.Path(folder) / "busy").unlink()
            return "451 try again"
        self.count += 1
        (pathlib.Path(folder) / f"{self.count:03}.eml").write_bytes(envelope.original_content)
        return "250 kept"


def login(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ann", b"s3cret")
    return AuthResult(success=right, handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
controller = Controller(
    Keep(), hostname="127.0.0.1", port=int(port), tls_context=context, require_starttls=True,
    authenticator=login, auth_required=True, data_size_limit=3_000_000,
)
controller.start()
print("ready", flush=True)
signal.pause()
