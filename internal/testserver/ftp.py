# An FTP server of one user, Python's pyftpdlib, on loopback. usage: ftp.py PORT TLS CERT CONNECTIONS, with TLS one of none,
# explicit, required, implicit, CERT a PEM file with certificate and key, CONNECTIONS how many it takes of one address
# (0: any). It ends with its standard input. The user's name and password come as FTP_USER and FTP_PASSWORD.
import os, sys, threading
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

port, tls, cert, connections = sys.argv[1:5]


class Implicit(TLS_FTPHandler):
    """TLS from the first byte on; the greeting comes inside."""

    def handle(self):
        self.secure_connection(self.ssl_context)

    def handle_ssl_established(self):
        super().handle()

    def ftp_AUTH(self, line):
        self.respond("503 Already using TLS.")


class Server(FTPServer):
    max_cons_per_ip = int(connections)


handler = {"none": FTPHandler, "implicit": Implicit}.get(tls, TLS_FTPHandler)
handler.authorizer = DummyAuthorizer()
handler.authorizer.add_user(os.environ["FTP_USER"], os.environ["FTP_PASSWORD"], os.getcwd(), perm="elr")
handler.auth_failed_timeout = 0  # how long it thinks about a wrong password
if tls != "none":
    handler.certfile = cert
    handler.tls_control_required = tls == "required"


def ends_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


threading.Thread(target=ends_with_input, daemon=True).start()
Server(("127.0.0.1", int(port)), handler).serve_forever()
