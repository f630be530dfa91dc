package admin

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/secret"
)

// Daemon is what the running daemon tells and does for the API. Its errors are
// faults, whose detail is shown. All methods may be called at once from many
// goroutines.
type Daemon interface {
	Tokens
	Identity
	// Status of a credential: what its use has shown, and what the record tells of
	// its grant. It reads nothing.
	Status(c *credential.Credential) Status
	// UsedBy gives the callers that used the credential within the window of
	// protection, sorted, and "configuration" where the configuration names it.
	UsedBy(ref credential.Ref) []string
	// Changed tells that a record was written or removed.
	Changed(ref credential.Ref)
	// Decide tells what the proxy would do with a request; it sends nothing.
	// An empty caller is the daemon's to choose, an empty credential none.
	Decide(ctx context.Context, caller, credential, method, url string) (Decision, error)
	// Reload reads the configuration anew. A faulty one leaves the old one
	// running and gives an error that is a FaultsError.
	Reload(ctx context.Context) error
	// Ready tells whether requests can be served: status is a word for the
	// answer ("ok", "degraded", "starting", "draining" ...), degraded names what is away.
	Ready() (status string, degraded []string, ok bool)
	// Requests are the last that went through the proxy, newest first: failed ones
	// for longer. The caller may change the list.
	Requests() []Request
	// Callers in the order they are shown.
	Callers() []CallerInfo
	// AddCaller makes a caller and its token. One that exists is invalid_request.
	AddCaller(name, workspace, environment string) (secret.Value, error)
	// RemoveCaller removes one that AddCaller made. An unknown one is not_found,
	// one of the configuration invalid_request.
	RemoveCaller(name string) error
}

// Status is what a daemon knows of one credential from using it. Zero times are unknown.
type Status struct {
	ExpiresAt, LastUsed, LastRefresh, NextRefresh time.Time

	LastError *fault.Fault // nil: the last use was good, or there was none
	LastGood  time.Time    // when the last request began that went well
}

// Decision is the answer to Decide.
type Decision struct {
	Action     string     `json:"action"` // intercept, tunnel or refuse
	Provider   string     `json:"provider"`
	Credential string     `json:"credential"`
	Code       fault.Code `json:"code"` // of refuse
	Why        []string   `json:"why"`
}

// CallerInfo is one caller as it is shown.
type CallerInfo struct {
	Name        string `json:"name"`
	Workspace   string `json:"workspace"`
	Environment string `json:"environment"`
	Configured  bool   `json:"configured"` // by the configuration: not removable

	Needs map[string]Needs `json:"needs"` // by provider; never nil
}

// Needs are the scopes and permissions that a caller needs of a provider.
type Needs struct {
	Scopes      []string `json:"scopes"`      // never nil
	Permissions []string `json:"permissions"` // never nil
}

// Fault is one fault of a configuration.
type Fault struct {
	Line   int    `json:"line"` // 0: no line
	Key    string `json:"key"`
	Detail string `json:"detail"`
}

// FaultsError is what a Reload of a faulty configuration fails with.
type FaultsError interface {
	error
	Faults() []Fault
}
