package fault

import "net/http"

// notReached are the diagnoses of an upstream that is not reached. Nobody writes it.
var notReached = map[Code]Diagnosis{
	ConnectionRefused: {
		Code: ConnectionRefused, Status: http.StatusBadGateway, Token: "connection_refused", Transient: true, Actor: Operator,
		Title: "The upstream refuses the connection",
		Cause: "Nothing listens at the upstream's address and port, or a firewall rejects it.",
		Remedy: []string{
			"Check host and port of the URL; check that the service runs.",
		},
	},
	DNSFailure: {
		Code: DNSFailure, Status: http.StatusBadGateway, Token: "dns_error", Transient: true, Actor: Operator,
		Title: "The host name does not resolve",
		Cause: "The resolver of this machine knows no address for the host, or does not answer.",
		Remedy: []string{
			"Check the host's spelling, and the resolver of the machine or container.",
		},
	},
	Timeout: {
		Code: Timeout, Status: http.StatusGatewayTimeout, Token: "connection_timeout", Transient: true, Actor: Nobody,
		Title: "The upstream did not answer in time",
		Cause: "Connecting, the TLS handshake or the answer's header took longer than allowed.",
		Remedy: []string{
			"Try again; raise [proxy] upstream_timeout if the API is known to be slow.",
		},
	},
	TLSCertificate: {
		Code: TLSCertificate, Status: http.StatusBadGateway, Token: "tls_certificate_error", Actor: Operator,
		Title: "The upstream's certificate does not verify",
		Cause: "The certificate is expired, for another name, self-signed, or signed by an authority that is not trusted here, or a database offers no TLS; nothing was sent.",
		Remedy: []string{
			"For a private authority set ca_file of the provider.",
			"If the certificate has expired, its owner must renew it.",
			"If its names are others, use one of them as the host of the URL.",
		},
	},
	ConnectionReset: {
		Code: ConnectionReset, Status: http.StatusBadGateway, Token: "connection_terminated", Transient: true, Actor: Nobody,
		Title: "The upstream closed the connection",
		Cause: "The connection ended before the answer was complete.",
		Remedy: []string{
			"Try again; look at the upstream's log if it lasts.",
		},
	},
	UpstreamInvalid: {
		Code: UpstreamInvalid, Status: http.StatusBadGateway, Token: "http_protocol_error", Actor: Operator,
		Title: "The upstream's answer is not valid HTTP",
		Cause: "The answer, its header or its framing is malformed or too large, or an origin server answered 407.",
		Remedy: []string{
			"Check that the URL points at an HTTP API and not at another service.",
		},
	},
}

// adminAndGateway are the diagnoses of the admin API and the gateway. Nobody writes it.
var adminAndGateway = map[Code]Diagnosis{
	Unauthorized: {
		Code: Unauthorized, Status: http.StatusUnauthorized, Token: "http_request_denied", Actor: Operator,
		Title: "The token is missing or wrong",
		Cause: "The request has no valid Authorization: Bearer token.",
		Remedy: []string{
			"Send the admin token (STATE_DIR/admin.token) to the admin API, or use its Unix socket.",
			"Send a caller's token to /api/v1/mine and to the gateway.",
		},
	},
	NotFound: {
		Code: NotFound, Status: http.StatusNotFound, Token: "http_request_error", Actor: User,
		Title: "There is nothing here",
		Cause: "No resource has this path, or what the path names does not exist.",
		Remedy: []string{
			"Check the name: sallyport caller list and sallyport app list show those that there are; a connect is forgotten after an hour.",
			"Check the path against the API's documentation.",
		},
	},
	OriginRefused: {
		Code: OriginRefused, Status: http.StatusForbidden, Token: "http_request_denied", Actor: User,
		Title: "Requests from web pages are refused",
		Cause: "The request comes from a page of another origin in a browser.",
		Remedy: []string{
			"Call the API from a program, or open the console at its own address.",
		},
	},
	Internal: {
		Code: Internal, Status: http.StatusInternalServerError, Token: "proxy_internal_error", Actor: Operator,
		Title: "Something went wrong inside Sallyport",
		Cause: "Something that Sallyport needs has failed, such as its disk or one of its files, or it has a defect; the log has the details under the request id.",
		Remedy: []string{
			"If the detail names a file or the disk, mend that.",
			"Else report it with the log lines of this request id.",
		},
	},
}
