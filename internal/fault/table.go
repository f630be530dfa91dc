package fault

import "net/http"

// table is the diagnosis of every code. Nobody writes it.
var table = map[Code]Diagnosis{

	// Refused here.
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

	// Credential trouble.
	FieldMissing: {
		Code: FieldMissing, Status: http.StatusBadGateway, Token: "proxy_configuration_error", Actor: User,
		Title: "The credential lacks a field",
		Cause: "The stored record has not all the fields that its type needs, or one that cannot go on the wire; the detail names it.",
		Remedy: []string{
			"Set the field: sallyport credential edit REF --from-env FIELD=VARIABLE.",
		},
	},
	TokenExpired: {
		Code: TokenExpired, Status: http.StatusBadGateway, Token: "proxy_internal_response", Transient: true, Actor: Nobody,
		Title: "The token has expired and could not be renewed in time",
		Cause: "The held access token is past its life and its renewal has not succeeded yet.",
		Remedy: []string{
			"Try again; the daemon goes on trying.",
			"Look at the credential's last_error: sallyport credential show REF.",
		},
	},
	ReauthorizationRequired: {
		Code: ReauthorizationRequired, Status: http.StatusBadGateway, Token: "proxy_configuration_error", Actor: User,
		Title: "The grant is gone: someone must authorize again",
		Cause: "The authorization server refused the stored grant for good: revoked, expired by idleness, or used by another client.",
		Remedy: []string{
			"Authorize again: sallyport credential connect REF.",
		},
	},
	InvalidClient: {
		Code: InvalidClient, Status: http.StatusBadGateway, Token: "proxy_configuration_error", Actor: Operator,
		Title: "The OAuth client is refused",
		Cause: "The token endpoint does not accept the client_id and client_secret.",
		Remedy: []string{
			"Compare client_id and client_secret with the provider's developer console; the secret may have expired or been replaced.",
			"Check client_auth of the provider: some token endpoints want it in the body.",
		},
	},
	InvalidGrant: {
		Code: InvalidGrant, Status: http.StatusBadGateway, Token: "proxy_configuration_error", Actor: User,
		Title: "The grant is refused",
		Cause: "The token endpoint refused the grant: expired, revoked, made for another client or redirect URI, or a wrong password.",
		Remedy: []string{
			"Check the stored fields of the credential.",
			"Authorize again where the type has a consent: sallyport credential connect REF.",
		},
	},
	InvalidScope: {
		Code: InvalidScope, Status: http.StatusBadGateway, Token: "proxy_configuration_error", Actor: User,
		Title: "The scope is refused",
		Cause: "The token endpoint does not know a requested scope, or does not give it to this client.",
		Remedy: []string{
			"Correct scope in the credential or scopes of the provider.",
			"Add the scope to the OAuth client at the provider.",
		},
	},
	TokenEndpointUnreachable: {
		Code: TokenEndpointUnreachable, Status: http.StatusServiceUnavailable, Token: "connection_terminated", Transient: true, Actor: Nobody,
		Title: "The token endpoint does not answer",
		Cause: "The token endpoint is unreachable, overloaded, or answers something that is no token response. The stored credential is untouched.",
		Remedy: []string{
			"Try again; the daemon backs off and goes on trying.",
			"Check token_url, and the network from this machine to it.",
		},
	},
	RedirectURIMismatch: {
		Code: RedirectURIMismatch, Status: http.StatusBadGateway, Token: "proxy_configuration_error", Actor: Operator,
		Title: "The redirect URI is not registered",
		Cause: "The redirect URI that Sallyport uses is not among those of the OAuth client.",
		Remedy: []string{
			"Register the redirect URI at the provider exactly as shown.",
			"Set [admin] public_url if Sallyport is reached by another name.",
		},
	},
	AccessDenied: {
		Code: AccessDenied, Status: http.StatusBadGateway, Token: "http_request_denied", Actor: User,
		Title: "The consent was refused",
		Cause: "The person, or the provider's policy, said no on the consent page.",
		Remedy: []string{
			"Start again and accept; ask the account's administrator if the page does not let you.",
		},
	},
	AuthorizationIncomplete: {
		Code: AuthorizationIncomplete, Status: http.StatusBadGateway, Token: "proxy_configuration_error", Actor: User,
		Title: "The authorization was not finished",
		Cause: "The credential has a client but no grant yet: nobody has completed the consent.",
		Remedy: []string{
			"Finish it: sallyport credential connect REF.",
			"If the provider's page says that access is blocked, it never comes back here: sallyport explain app_not_verified tells what to do, and organization_policy where an administrator's policy is named.",
		},
	},
	StoreConflict: {
		Code: StoreConflict, Status: http.StatusConflict, Actor: User,
		Title: "The record has changed meanwhile",
		Cause: "Somebody else wrote the record after it was read.",
		Remedy: []string{
			"Read it again and repeat the change.",
		},
	},
	InUse: {
		Code: InUse, Status: http.StatusConflict, Actor: User,
		Title: "The credential is in use",
		Cause: "A caller has used the credential lately, or the configuration names it.",
		Remedy: []string{
			"Move its users to another credential first, or delete it with force.",
		},
	},
	CheckFailed: {
		Code: CheckFailed, Status: http.StatusUnprocessableEntity, Actor: User,
		Title: "The credential failed its check",
		Cause: "The provider refused the credential when it was tried; nothing was stored.",
		Remedy: []string{
			"Read the report: it names the cause and the remedy.",
			"Store it all the same with --force or ?force=true.",
		},
	},
	VaultUnreachable: {
		Code: VaultUnreachable, Status: http.StatusServiceUnavailable, Token: "destination_unavailable", Transient: true, Actor: Operator,
		Title: "The credential store does not answer",
		Cause: "Vault is unreachable, and what is held in memory does not serve this request.",
		Remedy: []string{
			"Check [vault] address, the network and Vault's health.",
			"The daemon goes on by itself once Vault is back.",
		},
	},
	VaultSealed: {
		Code: VaultSealed, Status: http.StatusServiceUnavailable, Token: "destination_unavailable", Transient: true, Actor: Operator,
		Title: "Vault is sealed",
		Cause: "Vault answers but is sealed, and what is held in memory does not serve this request.",
		Remedy: []string{
			"Unseal Vault; the daemon goes on by itself then.",
		},
	},
	VaultDenied: {
		Code: VaultDenied, Status: http.StatusBadGateway, Token: "proxy_configuration_error", Actor: Operator,
		Title: "Vault denies access",
		Cause: "Vault refuses the daemon's token, or its policy does not allow the path.",
		Remedy: []string{
			"Compare the policy of the daemon's token or role with the path in the log.",
			"Log in again with a role that has read, create, update, list and delete under the prefix.",
		},
	},

	// Told about an upstream's answer.
	CredentialsRejected: {
		Code: CredentialsRejected, Actor: User,
		Title: "The provider rejects the credential",
		Cause: "The provider says that the key or token is invalid, expired or revoked.",
		Remedy: []string{
			"Make a new key or token at the provider and store it: sallyport credential edit REF.",
			"Check that it belongs to this provider, host and environment.",
		},
	},
	CredentialMisplaced: {
		Code: CredentialMisplaced, Actor: Operator,
		Title: "The key is in the wrong place",
		Cause: "The provider finds no credential where it looks, or not in the form it wants, such as behind a prefix.",
		Remedy: []string{
			"Compare [[provider.place]] (header, query or basic; name; prefix) with the provider's documentation; a report tells what the answer asks for.",
			"Check the request's path too: some gateways answer so to a path that they do not have.",
		},
	},
	InsufficientScope: {
		Code: InsufficientScope, Actor: User,
		Title: "The token lacks a scope",
		Cause: "The provider accepts the token but not for this call: a scope is missing. A refresh cannot add it.",
		Remedy: []string{
			"Authorize again with the missing scope: sallyport credential connect REF; make a new key where nobody consents.",
		},
	},
	InsufficientPermission: {
		Code: InsufficientPermission, Actor: VendorAdmin,
		Title: "The account lacks a permission",
		Cause: "The provider accepts the credential but its account may not do this.",
		Remedy: []string{
			"Ask the account's administrator at the provider for the permission that the answer names.",
		},
	},
	SSORequired: {
		Code: SSORequired, Actor: User,
		Title: "Single sign-on is required",
		Cause: "The organization wants the token authorized for single sign-on.",
		Remedy: []string{
			"Open the link in the provider's answer and authorize the token.",
		},
	},
	AppNotVerified: {
		Code: AppNotVerified, Actor: Operator,
		Title: "The app is not verified",
		Cause: "The provider blocks the client because it is not verified, published or approved for this.",
		Remedy: []string{
			"Verify or publish the client in the provider's console, or add the account as a test user.",
			"In Google Cloud, on the page of the OAuth consent screen: publish the app, and for accounts outside of its organization make its user type External.",
		},
	},
	QuotaExceeded: {
		Code: QuotaExceeded, Transient: true, Actor: VendorAdmin,
		Title: "The provider's quota is used up",
		Cause: "The account's or project's quota for this API is spent.",
		Remedy: []string{
			"Wait until it resets, or ask for a larger quota.",
		},
	},
	OrganizationPolicy: {
		Code: OrganizationPolicy, Actor: VendorAdmin,
		Title: "A policy of the organization forbids it",
		Cause: "The organization's policy at the provider refuses this token, client or address.",
		Remedy: []string{
			"Ask the organization's administrator to approve the client, the token or the address.",
			"In Google Workspace the administrator trusts the client under Security, API controls; in GitHub an owner approves it in the organization's settings.",
		},
	},
	UpstreamRateLimited: {
		Code: UpstreamRateLimited, Transient: true, Actor: Nobody,
		Title: "The provider limits the rate",
		Cause: "The provider answers that there were too many calls.",
		Remedy: []string{
			"Wait as long as its answer says.",
			"Set [provider.limits] below the provider's limit so that calls queue here.",
		},
	},
	AccountInactive: {
		Code: AccountInactive, Actor: VendorAdmin,
		Title: "The account is not active",
		Cause: "The provider says that the account or user is deactivated, locked or suspended.",
		Remedy: []string{
			"Ask the account's administrator to activate or unlock it, or use another account.",
		},
	},
	AccountUnpaid: {
		Code: AccountUnpaid, Actor: VendorAdmin,
		Title: "The account is not paid",
		Cause: "The provider refuses because of the account's plan or an unpaid bill.",
		Remedy: []string{
			"Settle the plan or the bill at the provider.",
		},
	},
	WrongSurface: {
		Code: WrongSurface, Actor: Operator,
		Title: "The key belongs to another host, region, mode or account kind",
		Cause: "The provider knows no such resource here, or wants another kind of key: the base URL, the name of the database, or the key's mode or kind is not the one for this.",
		Remedy: []string{
			"Check the base URL, region and API path of the provider entry or the credential's url; of a database its name.",
			"Check the kind of the key: live or test, secret or publishable, of a person or of an app.",
		},
	},
	APIDisabled: {
		Code: APIDisabled, Actor: VendorAdmin,
		Title: "The API is switched off",
		Cause: "The API is not enabled for the project or edition at the provider.",
		Remedy: []string{
			"Enable it in the provider's console.",
		},
	},
	ExpiresSoon: {
		Code: ExpiresSoon, Actor: User,
		Title: "The credential ends soon",
		Cause: "The credential works, but it ends within [checks] expiry_warning, and nothing renews it.",
		Remedy: []string{
			"Make a new one at the provider before that day and store it: sallyport credential edit REF; for a grant, sallyport credential connect REF.",
		},
	},
	ResourceNotShared: {
		Code: ResourceNotShared, Actor: VendorAdmin,
		Title: "The resource is not shared with the account",
		Cause: "The credential works but this object is not visible to it.",
		Remedy: []string{
			"Share the object with the account or integration that the credential belongs to (in Slack, invite the app to the channel: /invite @APP).",
		},
	},

	// Upstream not reached.
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

	// Admin and gateway.
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
		Code: NotFound, Status: http.StatusNotFound, Actor: User,
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
