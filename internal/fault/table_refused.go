package fault

import "net/http"

// refusedHere are the diagnoses of what is refused here. Nobody writes it.
var refusedHere = map[Code]Diagnosis{
	ProxyAuthRequired: {
		Code: ProxyAuthRequired, Status: http.StatusProxyAuthRequired, Token: "http_request_denied", Actor: User,
		Title: "The proxy asks who is calling",
		Cause: "The request had no Proxy-Authorization, or one that names no caller or a wrong token.",
		Remedy: []string{
			"Set HTTP_PROXY and HTTPS_PROXY to http://CALLER:TOKEN@HOST:PORT (sallyport env prints them).",
			"Make a caller and its token with: sallyport caller add NAME.",
			"A Java client must allow Basic on CONNECT: -Djdk.http.auth.tunneling.disabledSchemes= or give it a [[proxy.listener]] of its own.",
		},
	},
	NoRoute: {
		Code: NoRoute, Status: http.StatusForbidden, Token: "destination_not_found", Actor: Operator,
		Title: "No route to this host",
		Cause: "No provider owns this host and path, and the configuration or this caller's policy does not let the request through.",
		Remedy: []string{
			"Check the host's spelling and port: sallyport decide METHOD URL tells what the proxy would do and why.",
			"Add a [[provider]] that owns the host, or list it under hosts of the caller's [[caller.allow]].",
			"Set [proxy] unmatched = \"tunnel\" to let unknown hosts through untouched, and tunnel_ports for other ports than 443.",
		},
	},
	NotAllowed: {
		Code: NotAllowed, Status: http.StatusForbidden, Token: "http_request_denied", Actor: Operator,
		Title: "The caller's policy does not allow this request",
		Cause: "No [[caller.allow]] entry of this caller matches the method and the path.",
		Remedy: []string{
			"Compare with: sallyport decide --caller CALLER METHOD URL.",
			"Widen methods or paths of the caller's [[caller.allow]], or call what is allowed.",
		},
	},
	PrivateAddress: {
		Code: PrivateAddress, Status: http.StatusForbidden, Token: "destination_ip_prohibited", Actor: Operator,
		Title: "The host's address is not public",
		Cause: "The host resolves to private, loopback, link-local or otherwise reserved addresses only, and no allow_networks covers one.",
		Remedy: []string{
			"If the host is meant, add its network to allow_networks of its [[provider]] or of [proxy].",
			"If it is not, find out who gave the flow this URL: it may be an attempt to reach your inner network.",
		},
	},
	Misdirected: {
		Code: Misdirected, Status: http.StatusMisdirectedRequest, Token: "http_request_error", Actor: User,
		Title: "The request names another host than it came to",
		Cause: "The authority of CONNECT, the TLS server name and the Host of the request must be the same; on the admin and gateway listener Host must be one of its own names.",
		Remedy: []string{
			"Let the client open one tunnel for each host, and set no Host header by hand.",
			"For a further name of the listener add it to hosts of [proxy] or [admin].",
		},
	},
	NoCredential: {
		Code: NoCredential, Status: http.StatusForbidden, Token: "http_request_denied", Actor: User,
		Title: "No credential for this provider",
		Cause: "The caller's workspace and environment hold no credential of this provider that its policy allows.",
		Remedy: []string{
			"Add one: sallyport credential add WORKSPACE/ENVIRONMENT/PROVIDER/NAME.",
			"Check the caller's workspace and environment: sallyport caller list.",
			"If the API needs no credential, set anonymous = true for the provider.",
		},
	},
	AmbiguousCredential: {
		Code: AmbiguousCredential, Status: http.StatusConflict, Token: "http_request_denied", Actor: User,
		Title: "Several credentials fit",
		Cause: "The caller may use several credentials of this provider and none is named default.",
		Remedy: []string{
			"Send Sallyport-Credential: NAME with the request.",
			"Name one of them default, or narrow the caller's [[caller.allow]] credentials.",
		},
	},
	CredentialNotFound: {
		Code: CredentialNotFound, Status: http.StatusNotFound, Token: "http_request_denied", Actor: User,
		Title: "No credential of that name",
		Cause: "The credential that was asked for is not among those that this caller may use.",
		Remedy: []string{
			"Check the name: sallyport credential list.",
			"Check that the caller's workspace, environment and [[caller.allow]] cover it.",
		},
	},
	CleartextRefused: {
		Code: CleartextRefused, Status: http.StatusForbidden, Token: "http_request_denied", Actor: Operator,
		Title: "Credentials do not travel over cleartext",
		Cause: "The request would carry a credential over http, or a login to a database would go without TLS.",
		Remedy: []string{
			"Use the https URL of the API, or of a database an sslmode with TLS.",
			"If it really speaks nothing else, set allow_cleartext = true for its provider.",
		},
	},
	InvalidRequest: {
		Code: InvalidRequest, Status: http.StatusBadRequest, Token: "http_request_error", Actor: User,
		Title: "The request is malformed",
		Cause: "A part of the request is not valid; the detail names it.",
		Remedy: []string{
			"Mend the part that the detail names.",
		},
	},
	MethodNotAllowed: {
		Code: MethodNotAllowed, Status: http.StatusMethodNotAllowed, Token: "http_request_error", Actor: User,
		Title: "The method is not served here",
		Cause: "CONNECT inside a tunnel, TRACE, or a method that this resource does not have.",
		Remedy: []string{
			"Use a method that the resource has; TRACE is refused because it would send the credential back.",
		},
	},
	URITooLong: {
		Code: URITooLong, Status: http.StatusRequestURITooLong, Token: "http_request_error", Actor: User,
		Title: "The request target is too long",
		Cause: "The request target is longer than the proxy accepts.",
		Remedy: []string{
			"Move parameters from the query into the body.",
		},
	},
	HeaderTooLarge: {
		Code: HeaderTooLarge, Status: http.StatusRequestHeaderFieldsTooLarge, Token: "http_request_error", Actor: User,
		Title: "The request header is too large",
		Cause: "The header section has more bytes or more fields than the proxy accepts (64 KiB, 100 fields).",
		Remedy: []string{
			"Send fewer or shorter fields; cookies are the usual cause.",
		},
	},
	LoopDetected: {
		Code: LoopDetected, Status: http.StatusLoopDetected, Token: "proxy_loop_detected", Actor: Operator,
		Title: "The request would come back to Sallyport",
		Cause: "The destination is one of the daemon's own listeners, or the request has passed this daemon before.",
		Remedy: []string{
			"Call the admin API without the proxy: add its authority to NO_PROXY (sallyport env does).",
			"Check that no upstream_proxy and no provider host points at Sallyport itself.",
		},
	},
	Overloaded: {
		Code: Overloaded, Status: http.StatusServiceUnavailable, Token: "connection_limit_reached", Transient: true, Actor: Nobody,
		Title: "Too much at once",
		Cause: "The daemon's connections, queues or memory for replays are used up.",
		Remedy: []string{
			"Try again after a moment.",
			"Raise [proxy] max_connections and the process's file descriptor limit, or run one more sidecar.",
		},
	},
	RateLimited: {
		Code: RateLimited, Status: http.StatusTooManyRequests, Token: "connection_limit_reached", Transient: true, Actor: Nobody,
		Title: "The limit of this credential is reached",
		Cause: "The call would have waited longer than max_wait for its turn within the configured or the provider's limits.",
		Remedy: []string{
			"Wait as long as Retry-After says.",
			"Spread the calls, or raise [limits] if the provider allows more.",
		},
	},
}
