package fault

// Kind tells apart the faults of one Code that have causes and remedies of their
// own. It is part of no answer; its cause and remedy are.
type Kind string

// Kinds of tls_certificate, and of token_endpoint_unreachable where the token
// endpoint's certificate is why.
const (
	CertificateExpired     Kind = "expired"
	CertificateTooEarly    Kind = "not_yet_valid"
	CertificateSelfSigned  Kind = "self_signed"
	CertificateOfOther     Kind = "wrong_name"
	CertificateUntrusted   Kind = "unknown_authority"
	CertificateOtherUse    Kind = "wrong_usage"
	CertificateUnsafe      Kind = "unsafe_algorithm"
	ClientCertificateAsked Kind = "client_certificate"
	OldTLS                 Kind = "old_tls"
	NoTLS                  Kind = "no_tls"
)

// Kinds of invalid_client.
const (
	ClientSecretExpired Kind = "secret_expired"
	ClientSecretWrong   Kind = "secret_wrong"
	ClientElsewhere     Kind = "wrong_tenant"
)

// Kinds of credential_misplaced and wrong_surface that can be seen in the record.
const (
	KeyPasted  Kind = "pasted"
	KeyOfOther Kind = "other_key"
)

// Kinds of insufficient_scope where nobody consents.
const (
	KeyScope    Kind = "key_scope"
	ClientScope Kind = "client_scope"
)

// KeyPermission is a kind of insufficient_permission: the key itself carries the
// permissions, whatever its account may do.
const KeyPermission Kind = "key_permission"

// ClientProject is a kind of api_disabled: the project is that of the OAuth client
// or key, and not the account's.
const ClientProject Kind = "client_project"

// Kinds of rate_limited and timeout where it was a check's turn that did not come,
// or a check's time that was over.
const (
	CheckTurn Kind = "check_turn"
	CheckTime Kind = "check_time"
)

// Variant is what a Kind means; it takes the place of what its Code does.
type Variant struct {
	Kind   Kind
	Actor  Actor // empty: the code's
	Cause  string
	Remedy []string
}

// of gives the diagnosis with what k has of its own.
func (d Diagnosis) of(k Kind) Diagnosis {
	for _, v := range d.Kinds {
		if v.Kind != k {
			continue
		}
		d.Cause, d.Remedy = v.Cause, v.Remedy
		if v.Actor != "" {
			d.Actor = v.Actor
		}
	}
	return d
}

// kinds of each code that has some. Nobody writes it.
var kinds = map[Code][]Variant{
	TLSCertificate:           certificateKinds,
	TokenEndpointUnreachable: certificateKinds[:certificatesOnly],
	InsufficientScope: {
		{
			Kind:  KeyScope,
			Cause: "The provider takes the token, but scopes are missing that are needed.",
			Remedy: []string{
				"Make a token that has the missing scopes at the provider, or add them to this one where it lets you, and store it: sallyport credential edit REF.",
			},
		},
		{
			Kind:  ClientScope,
			Cause: "The provider takes the token, but scopes are missing that are needed.",
			Remedy: []string{
				"Add the missing scopes to the OAuth client at the provider, and ask for them: set the field scope of the credential, or scopes of [provider.oauth2].",
			},
		},
	},
	InsufficientPermission: {
		{
			Kind: KeyPermission, Actor: User,
			Cause: "The provider takes the key, but it was made without permissions that are needed.",
			Remedy: []string{
				"Give the key the missing permissions at the provider, or make one that has them and store it: sallyport credential edit REF.",
				"If the key belongs to an organization, have its administrator approve the change.",
			},
		},
	},
	APIDisabled: {
		{
			Kind: ClientProject, Actor: Operator,
			Cause:  "The API is not enabled in the project that the OAuth client, service account or key belongs to.",
			Remedy: []string{"Enable it in that project; the provider's answer names the project, and mostly has the link."},
		},
	},
	RateLimited: {
		{
			Kind:  CheckTurn,
			Cause: "The check would have waited longer than a minute for its turns within the limits of the provider.",
			Remedy: []string{
				"Check again when fewer other checks of this provider run, and fewer credentials at once.",
				"Raise [provider.limits] or [limits] if the provider allows more.",
			},
		},
	},
	Timeout: {
		{
			Kind:  CheckTime,
			Cause: "Connecting, the TLS handshake, the login or the answer took longer than a check gives it: ten seconds each, and thirty for all its requests.",
			Remedy: []string{
				"Check again, and look at the provider's status page if it lasts.",
				"If its API is always that slow, name a quicker request in [provider.verify].",
			},
		},
	},
	CredentialMisplaced: {
		{
			Kind: KeyPasted, Actor: User,
			Cause:  "The stored value is not the key alone: something was pasted along with it.",
			Remedy: []string{"Store the key alone: sallyport credential edit REF."},
		},
	},
	WrongSurface: {
		{
			Kind: KeyOfOther, Actor: User,
			Cause:  "The key is of another kind, mode or provider than the credential is for.",
			Remedy: []string{"Make or copy the right key at the provider and store it: sallyport credential edit REF."},
		},
	},
	InvalidClient: {
		{
			Kind:  ClientSecretExpired,
			Cause: "The client secret has expired.",
			Remedy: []string{
				"Make a new client secret in the provider's developer console, and store it: sallyport app add PROVIDER, or sallyport credential edit REF where the credential has its own.",
			},
		},
		{
			Kind:  ClientSecretWrong,
			Cause: "The client secret is wrong: it was mistyped, replaced, or is another client's.",
			Remedy: []string{
				"Copy the secret's value (not its id) from the provider's developer console, and store it: sallyport app add PROVIDER, or sallyport credential edit REF where the credential has its own.",
			},
		},
		{
			Kind:  ClientElsewhere,
			Cause: "The authorization server knows no such client or tenant: the client_id or the tenant in the token URL is of another one.",
			Remedy: []string{
				"Compare client_id and the tenant (in token_url, or the credential's tenant field) with the app's registration.",
				"Have an administrator of the tenant add the app to it, if it is an app of another tenant.",
			},
		},
	},
}

// certificatesOnly is how many of certificateKinds are of the server's certificate.
const certificatesOnly = 7

var certificateKinds = []Variant{
	{
		Kind:  CertificateExpired,
		Cause: "The certificate has expired; nothing was sent.",
		Remedy: []string{
			"Its owner must renew it; the detail tells when it ended.",
			"If it is still good elsewhere, check the clock of this machine.",
		},
	},
	{
		Kind:  CertificateTooEarly,
		Cause: "The certificate is not valid yet; nothing was sent.",
		Remedy: []string{
			"Check the clock of this machine: a certificate that was just made is seldom wrong.",
			"Else wait until it begins, or have its owner make another one.",
		},
	},
	{
		Kind:  CertificateSelfSigned,
		Cause: "The certificate is signed by itself and by no authority; nothing was sent.",
		Remedy: []string{
			"If the server is yours, set ca_file of its provider to this very certificate, or give it one of your authority.",
			"If it is not, do not trust it: somebody may stand between.",
		},
	},
	{
		Kind:  CertificateOfOther,
		Cause: "The certificate is for other names than the host that was asked; nothing was sent.",
		Remedy: []string{
			"Use one of the certificate's names, which the detail lists, as the host of the URL.",
			"Or have the server's owner add the host to its certificate.",
		},
	},
	{
		Kind:  CertificateUntrusted,
		Cause: "The certificate is signed by an authority that is not trusted here; nothing was sent.",
		Remedy: []string{
			"For a private authority, which the detail names as issuer, set ca_file of the provider to its certificate.",
			"A server must also send the certificates between its own and the authority's: compare with openssl s_client -showcerts.",
			"If a company proxy opens TLS on the way, its authority is what ca_file must hold.",
		},
	},
	{
		Kind:  CertificateOtherUse,
		Cause: "The certificate, or one that signed it, is not made for this use or this name; nothing was sent.",
		Remedy: []string{
			"Its owner must give the server one that its authority may sign, for servers (extended key usage serverAuth) and this name.",
		},
	},
	{
		Kind:  CertificateUnsafe,
		Cause: "The certificate is signed with an algorithm that is not safe any more; nothing was sent.",
		Remedy: []string{
			"Its owner must have it signed again, with SHA-256 or better.",
		},
	},
	{
		Kind:  ClientCertificateAsked,
		Cause: "The upstream ended the TLS handshake: it wants a client certificate, or does not take the one it was shown.",
		Remedy: []string{
			"Store the client certificate that the server expects as a credential of type mtls.",
			"If one is stored, compare its issuer and its end with what the server accepts.",
		},
	},
	{
		Kind:  OldTLS,
		Cause: "The upstream speaks no TLS version from 1.2 on; nothing was sent.",
		Remedy: []string{
			"Have its owner switch TLS 1.2 or 1.3 on.",
		},
	},
	{
		Kind:  NoTLS,
		Cause: "The server offers no TLS; nothing was sent.",
		Remedy: []string{
			"Switch TLS on at the server.",
			"A database without TLS is logged in to only on this machine, or with sslmode = disable or prefer and allow_cleartext of its provider.",
		},
	},
}
