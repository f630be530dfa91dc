package provider

import "github.com/sallyport/sallyport/internal/fault"

// Meaning is what an upstream's answer says about the credential.
type Meaning string

// The meanings. OK also stands for answers that say nothing about it.
const (
	OK          Meaning = ""
	Expired     Meaning = "expired"      // a refresh may help
	Invalid     Meaning = "invalid"      // rejected; a refresh cannot help
	Scope       Meaning = "scope"        // accepted, a scope is missing
	Permission  Meaning = "permission"   // accepted, the account may not
	RateLimited Meaning = "rate_limited" // too many calls
	Policy      Meaning = "policy"       // the organization forbids it
)

var codes = map[Meaning]fault.Code{
	Expired: fault.CredentialsRejected, Invalid: fault.CredentialsRejected, Scope: fault.InsufficientScope,
	Permission: fault.InsufficientPermission, RateLimited: fault.UpstreamRateLimited, Policy: fault.OrganizationPolicy,
}

// Code of the diagnosis; empty for OK.
func (m Meaning) Code() fault.Code { return codes[m] }
