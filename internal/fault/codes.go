package fault

// Refused here.
const (
	ProxyAuthRequired   Code = "proxy_auth_required"
	NoRoute             Code = "no_route"
	NotAllowed          Code = "not_allowed"
	PrivateAddress      Code = "private_address"
	Misdirected         Code = "misdirected"
	NoCredential        Code = "no_credential"
	AmbiguousCredential Code = "ambiguous_credential"
	CredentialNotFound  Code = "credential_not_found"
	CleartextRefused    Code = "cleartext_refused"
	InvalidRequest      Code = "invalid_request"
	MethodNotAllowed    Code = "method_not_allowed"
	URITooLong          Code = "uri_too_long"
	HeaderTooLarge      Code = "header_too_large"
	LoopDetected        Code = "loop_detected"
	Overloaded          Code = "overloaded"
	RateLimited         Code = "rate_limited"
)

// Credential trouble.
const (
	FieldMissing             Code = "field_missing"
	TokenExpired             Code = "token_expired"
	ReauthorizationRequired  Code = "reauthorization_required"
	InvalidClient            Code = "invalid_client"
	InvalidGrant             Code = "invalid_grant"
	InvalidScope             Code = "invalid_scope"
	TokenEndpointUnreachable Code = "token_endpoint_unreachable"
	RedirectURIMismatch      Code = "redirect_uri_mismatch"
	AccessDenied             Code = "access_denied"
	AuthorizationIncomplete  Code = "authorization_incomplete"
	StoreConflict            Code = "store_conflict"
	InUse                    Code = "in_use"
	CheckFailed              Code = "check_failed"
	VaultUnreachable         Code = "vault_unreachable"
	VaultSealed              Code = "vault_sealed"
	VaultDenied              Code = "vault_denied"
)

// Told about an upstream's answer.
const (
	CredentialsRejected    Code = "credentials_rejected"
	CredentialMisplaced    Code = "credential_misplaced"
	InsufficientScope      Code = "insufficient_scope"
	InsufficientPermission Code = "insufficient_permission"
	SSORequired            Code = "sso_required"
	AppNotVerified         Code = "app_not_verified"
	QuotaExceeded          Code = "quota_exceeded"
	OrganizationPolicy     Code = "organization_policy"
	UpstreamRateLimited    Code = "upstream_rate_limited"
	AccountInactive        Code = "account_inactive"
	AccountUnpaid          Code = "account_unpaid"
	WrongSurface           Code = "wrong_surface"
	APIDisabled            Code = "api_disabled"
	ResourceNotShared      Code = "resource_not_shared"
	ExpiresSoon            Code = "expires_soon"
)

// Upstream not reached.
const (
	ConnectionRefused Code = "connection_refused"
	DNSFailure        Code = "dns_failure"
	Timeout           Code = "timeout"
	TLSCertificate    Code = "tls_certificate"
	ConnectionReset   Code = "connection_reset"
	UpstreamInvalid   Code = "upstream_invalid"
)

// Admin and gateway, and what should not happen.
const (
	Unauthorized  Code = "unauthorized"
	NotFound      Code = "not_found"
	OriginRefused Code = "origin_refused"
	Internal      Code = "internal"
)
