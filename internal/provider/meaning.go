package provider

import "github.com/sallyport/sallyport/internal/fault"

// Meaning is what an upstream's answer says about the credential. The first six
// are those that a configuration may use.
type Meaning string

// The meanings. OK also stands for answers that say nothing about it.
const (
	OK          Meaning = ""
	Expired     Meaning = "expired"      // its time is over; a new one may help
	Invalid     Meaning = "invalid"      // not known or revoked; a new one may help, if there is one
	Scope       Meaning = "scope"        // accepted, a scope is missing
	Permission  Meaning = "permission"   // accepted, the account may not; said by a signal of this provider
	RateLimited Meaning = "rate_limited" // too many calls
	Policy      Meaning = "policy"       // the organization forbids it

	Forbidden   Meaning = "forbidden" // refused for a reason that nobody knows; the credential may be good
	SignIn      Meaning = "sign_in"   // somebody has to sign in anew; a refresh brings that to light
	SSO         Meaning = "sso_required"
	Quota       Meaning = "quota_exceeded"
	Inactive    Meaning = "account_inactive"
	Unpaid      Meaning = "account_unpaid"
	Surface     Meaning = "wrong_surface" // a key of another host, region or mode
	APIDisabled Meaning = "api_disabled"
	NotShared   Meaning = "resource_not_shared"
	Misplaced   Meaning = "credential_misplaced" // none was found where the provider looks, or not behind its prefix
	Unapproved  Meaning = "app_not_verified"     // the provider has not approved the client for this
)

var codes = map[Meaning]fault.Code{
	Expired: fault.CredentialsRejected, Invalid: fault.CredentialsRejected, Scope: fault.InsufficientScope,
	Permission: fault.InsufficientPermission, RateLimited: fault.UpstreamRateLimited, Policy: fault.OrganizationPolicy,
	SSO: fault.SSORequired, Quota: fault.QuotaExceeded, Inactive: fault.AccountInactive, Unpaid: fault.AccountUnpaid,
	Surface: fault.WrongSurface, APIDisabled: fault.APIDisabled, NotShared: fault.ResourceNotShared, Misplaced: fault.CredentialMisplaced,
	Unapproved: fault.AppNotVerified, Forbidden: fault.InsufficientPermission, SignIn: fault.ReauthorizationRequired,
}

// Code of the diagnosis; empty for OK.
func (m Meaning) Code() fault.Code { return codes[m] }

// Rejects reports whether the answer refuses this very credential, so that
// another one of the same account could help. No other meaning is a reason to
// read, mint or refresh anything.
func (m Meaning) Rejects() bool { return m == Expired || m == Invalid || m == SignIn }
