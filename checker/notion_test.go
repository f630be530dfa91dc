package checker_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/checker"
	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

func notion(base string) *provider.Provider {
	p := api(base + "/v1")
	p.Name, p.Verify = "notion", provider.Verify{Path: "/users/me"}
	p.Headers = []provider.Header{{Name: "Notion-Version", Value: "2022-06-28"}}
	p.OAuth2.IntrospectionURL, p.OAuth2.Encoding = base+"/v1/oauth/introspect", "json"
	return p
}

const (
	notionBot  = `{"object":"user","id":"16d84278-ab0e-484c-9bdd-b35da3bd8905","name":"pied piper","avatar_url":null,"type":"bot","bot":{"owner":{"type":"user","user":{"object":"user","id":"5389a034","name":"christine makenotion","avatar_url":null,"type":"person","person":{"email":"christine@example.com"}}}}}`
	notionTeam = `{"object":"user","id":"16d84278","name":"pied piper","type":"bot","bot":{"owner":{"type":"workspace","workspace":true},"workspace_name":"Ada's Notion Workspace"}}`
)

// notionSays is an error in Notion's form.
func notionSays(status int, code, message string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"object":"error","status":%d,"code":%q,"message":%q}`, status, code, message))
}

// found is a page of search results.
func found(results string, more bool) http.HandlerFunc {
	return says(200, fmt.Sprintf(`{"object":"list","results":[%s],"next_cursor":null,"has_more":%t,"type":"page_or_database","page_or_database":{}}`, results, more))
}

// The decision table of Notion.
func TestNotion(t *testing.T) {
	const page, account = `{"object":"page","id":"16e34dab"}`, "pied piper (bot of christine makenotion)"
	search := func(answer http.HandlerFunc) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{"POST /v1/search": answer}
	}
	restricted := notionSays(403, "restricted_resource", "Insufficient permissions for this endpoint.")
	needs := func(names ...string) provider.Needs { return provider.Needs{Permissions: names} }
	for _, c := range []struct {
		probed
		me http.HandlerFunc
	}{
		{probed{name: "200, of a person", answers: search(found(page, true)), lines: "authorization:ok projects:ok", overall: checker.OK, account: account}, says(200, notionBot)},
		{probed{name: "200, of a workspace", answers: search(found(page, true)), lines: "authorization:ok projects:ok", overall: checker.OK, account: "pied piper (bot of Ada's Notion Workspace)"}, says(200, notionTeam)},
		{probed{name: "one page", answers: search(found(page, false)), lines: "authorization:ok projects:ok:1", overall: checker.OK, account: account}, says(200, notionBot)},
		{probed{name: "nothing is shared", answers: search(found("", false)), lines: "authorization:ok projects:warning:0", overall: checker.Warning, code: fault.ResourceNotShared, account: account, says: "share a page"}, says(200, notionBot)},
		{probed{name: "may not read content", answers: search(restricted), lines: "authorization:ok permissions:warning projects:unverifiable", overall: checker.Warning, missing: "Read content", code: fault.InsufficientPermission, account: account, says: "Insufficient permissions"}, says(200, notionBot)},
		{probed{name: "may not read content, which is needed", needs: needs("read_content", "Insert content"), answers: search(restricted), lines: "authorization:ok permissions:warning projects:unverifiable", overall: checker.Warning, missing: "read_content", code: fault.InsufficientPermission, account: account}, says(200, notionBot)},
		{probed{name: "may not read content, which nobody needs", needs: needs("Insert content"), answers: search(restricted), lines: "authorization:ok permissions:unverifiable projects:unverifiable", overall: checker.Warning, account: account}, says(200, notionBot)},
		{probed{name: "may read content", needs: needs("Read content"), answers: search(found(page, true)), lines: "authorization:ok permissions:ok projects:ok", overall: checker.OK, account: account}, says(200, notionBot)},
		{probed{name: "to insert cannot be tried", needs: needs("Read content", "Insert content"), answers: search(found(page, true)), lines: "authorization:ok permissions:unverifiable projects:ok", overall: checker.Warning, account: account, says: "Insert content"}, says(200, notionBot)},
		{probed{name: "the search is throttled", needs: needs("Read content"), answers: search(notionSays(429, "rate_limited", "x")), lines: "authorization:ok permissions:unverifiable projects:unverifiable", overall: checker.Warning, code: fault.UpstreamRateLimited, account: account}, says(200, notionBot)},
		{probed{name: "the search collides", answers: search(notionSays(409, "conflict_error", "x")), lines: "authorization:ok projects:unverifiable", overall: checker.Warning, account: account}, says(200, notionBot)},
		{probed{name: "the search answers a page", answers: search(aPage), lines: "authorization:ok projects:unverifiable", overall: checker.Warning, account: account}, says(200, notionBot)},
		{probed{name: "the search answers something else", answers: search(says(200, `{"hello":1}`)), lines: "authorization:ok projects:unverifiable", overall: checker.Warning, code: fault.UpstreamInvalid, account: account}, says(200, notionBot)},
		{probed{name: "restricted_resource", answers: search(found(page, true)), lines: "authorization:ok permissions:warning projects:ok", overall: checker.Warning, code: fault.InsufficientPermission, says: "Insufficient permissions"}, restricted},
		{probed{name: "object_not_found", answers: search(found(page, true)), lines: "authorization:warning projects:ok", overall: checker.Warning, code: fault.ResourceNotShared, says: "Could not find"}, notionSays(404, "object_not_found", "Could not find page with ID: 4cc3b486. Make sure the relevant pages and databases are shared with your integration.")},
		{probed{name: "unauthorized", lines: "authorization:error", overall: checker.Error, code: fault.CredentialsRejected, says: "API token is invalid."}, notionSays(401, "unauthorized", "API token is invalid.")},
		{probed{name: "missing_version", lines: "authorization:unverifiable", overall: checker.Warning, says: "Notion-Version header should be defined"}, notionSays(400, "missing_version", "Notion-Version header failed validation: Notion-Version header should be defined, instead was `undefined`.")},
		{probed{name: "conflict_error", lines: "authorization:unverifiable", overall: checker.Unknown, says: "try again later: Conflict occurred"}, notionSays(409, "conflict_error", "Conflict occurred while saving. Please try again.")},
		{probed{name: "rate_limited", lines: "authorization:unverifiable", overall: checker.Unknown, code: fault.UpstreamRateLimited}, notionSays(429, "rate_limited", "You have been rate limited. Please try again in a few minutes.")},
		{probed{name: "503", lines: "authorization:unverifiable", overall: checker.Unknown}, notionSays(503, "service_unavailable", "Notion is unavailable, please try again later.")},
		{probed{name: "a page", lines: "authorization:unverifiable", overall: checker.Warning}, aPage},
		{probed{name: "200 with nothing in it", lines: "authorization:unverifiable", overall: checker.Warning, says: "with nothing in it"}, nothing},
		{probed{name: "200 with an error", lines: "authorization:unverifiable", overall: checker.Warning}, says(200, `{"object":"error","error":"x"}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, played := c.verified("GET /v1/users/me", c.me).run(t, notion, record("api_key", "api_key", "ntn_n0tion"), 2, "n0tion")
			for i, r := range played.seen {
				if r.Header.Get("Notion-Version") == "" || r.Method == http.MethodPost && played.bodies[i] != `{"page_size":1}` {
					t.Errorf("%s %s %q without what Notion wants", r.Method, r.URL, played.bodies[i])
				}
			}
		})
	}
}

// Tokens of a consent are introspected, by the client, in an object.
func TestNotionIntrospection(t *testing.T) {
	about := func(body string) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{"POST /v1/search": found(`{}`, true), "POST /v1/oauth/introspect": says(200, body)}
	}
	const account = "pied piper (bot of christine makenotion)"
	needs := provider.Needs{Scopes: []string{"read_content"}}
	for _, c := range []probed{
		{name: "active", needs: needs, answers: about(`{"active":true,"scope":"read_content insert_content","iat":1727740800}`), lines: "authorization:ok scopes:ok projects:ok", overall: checker.OK},
		{name: "lacks one", needs: needs, answers: about(`{"active":true,"scope":"insert_content","iat":1727740800}`), lines: "authorization:ok scopes:warning projects:ok", overall: checker.Warning, missing: "read_content", code: fault.InsufficientScope},
		{name: "not active", needs: needs, answers: about(`{"active":false}`), lines: "authorization:warning scopes:unverifiable projects:ok", overall: checker.Warning},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.account = account
			_, played := c.verified("GET /v1/users/me", says(200, notionBot)).run(t, notion, consented("n0tion"), 3, "n0tion", canary)
			i := slices.IndexFunc(played.seen, func(r *http.Request) bool { return r.URL.Path == "/v1/oauth/introspect" })
			if i < 0 {
				t.Fatal("nobody was asked about the token")
			}
			if id, secret, _ := played.seen[i].BasicAuth(); id != "id-1" || secret != url.QueryEscape(canary) || played.bodies[i] != `{"token":"n0tion"}` {
				t.Errorf("asked as %q, with %q", id, played.bodies[i])
			}
		})
	}
}
