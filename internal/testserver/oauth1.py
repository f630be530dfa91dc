# An API that verifies OAuth 1.0 signatures with oauthlib and keeps nonces, over TLS. It answers 200 with the
# parameters that it understood, and else 401. usage: oauth1.py PORT CERT
import http.server, ssl, sys
from oauthlib.oauth1 import RequestValidator, ResourceEndpoint

class Validator(RequestValidator):
    nonces = set()
    client_key_length = access_token_length = nonce_length = (1, 80)
    safe_characters = set(map(chr, range(32, 127)))
    dummy_client = dummy_access_token = "nobody"
    def get_client_secret(self, client_key, request):
        return "consumer/secret+&" if client_key == "consumer" else "x"
    def get_access_token_secret(self, client_key, token, request):
        return "token secret%" if token == "user token" else "x"
    def validate_client_key(self, client_key, request):
        return client_key == "consumer"
    def validate_access_token(self, client_key, token, request):
        return token == "user token"
    def validate_realms(self, *a, **k):
        return True
    def validate_timestamp_and_nonce(self, client_key, timestamp, nonce, request, request_token=None, access_token=None):
        fresh = nonce not in self.nonces
        self.nonces.add(nonce)
        return fresh

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode("latin-1")
        uri = "https://" + self.headers["Host"] + self.path
        endpoint = ResourceEndpoint(Validator())
        ok, request = endpoint.validate_protected_resource_request(uri, self.command, body, dict(self.headers))
        answer = b"signed" if ok else b"refused"
        self.send_response(200 if ok else 401)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    do_GET = do_POST = do_PUT = do_DELETE = handle_any
    def log_message(self, *a):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
