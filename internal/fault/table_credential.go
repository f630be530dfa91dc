package fault

import "net/http"

// credentialTrouble are the diagnoses of trouble with a credential. Nobody writes it.
var credentialTrouble = map[Code]Diagnosis{
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
		Code: StoreConflict, Status: http.StatusConflict, Token: "http_request_denied", Actor: User,
		Title: "The record has changed meanwhile",
		Cause: "Somebody else wrote the record after it was read.",
		Remedy: []string{
			"Read it again and repeat the change.",
		},
	},
	InUse: {
		Code: InUse, Status: http.StatusConflict, Token: "http_request_denied", Actor: User,
		Title: "The credential is in use",
		Cause: "A caller has used the credential lately, or the configuration names it.",
		Remedy: []string{
			"Move its users to another credential first, or delete it with force.",
		},
	},
	CheckFailed: {
		Code: CheckFailed, Status: http.StatusUnprocessableEntity, Token: "http_request_denied", Actor: User,
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
}
