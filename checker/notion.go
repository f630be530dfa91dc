package checker

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/fault"
	"github.com/sallyport/sallyport/internal/provider"
)

// notionProbe asks what is shared with the integration. The scopes of tokens of a
// consent its introspection endpoint tells.
var notionProbe = probe{ask: askNotion, explain: explainNotion}

// readContent is the capability without which Notion's search is refused, as its
// pages call it.
const readContent = "Read content"

func askNotion(ctx context.Context, a *asker, first reply) {
	notionAccount(a, first)
	r := a.ask(ctx, provider.Verify{Method: http.MethodPost, Path: "/search", Body: `{"page_size":1}`})
	var found struct {
		Results []struct{} `json:"results"`
		HasMore bool       `json:"has_more"`
	}
	switch {
	case r.means == provider.Permission:
		a.note(Projects, r.unsure())
	case !r.decode(&found) || found.Results == nil:
		a.note(Projects, r.unanswered().unsure())
	case found.HasMore:
		a.note(Projects, ok("pages or databases are shared with it"))
	case len(found.Results) == 0:
		a.note(Projects, warning(fault.ResourceNotShared, "nothing is shared with the integration that its search finds: share a page with it").counted(0))
	default:
		a.note(Projects, ok("it finds "+several(len(found.Results), "page or database", "pages or databases")).counted(len(found.Results)))
	}
	notionCapabilities(a, r)
}

// notionCapabilities judges what the search tells of the integration's
// capabilities: that it may read content, or not. Notion lists them nowhere.
func notionCapabilities(a *asker, search reply) {
	if _, noted := a.lines[Permissions]; noted { // by the verify request
		return
	}
	want := a.needs.Permissions
	of := func(name string) bool { return strings.EqualFold(strings.ReplaceAll(name, "_", " "), readContent) }
	i := slices.IndexFunc(want, of)
	switch {
	case search.means == provider.Permission && (i >= 0 || len(want) == 0):
		lacks := readContent
		if i >= 0 {
			lacks = want[i]
		}
		a.note(Permissions, lacking(fault.InsufficientPermission, []string{lacks}, "missing: "+lacks).saying(notionMessage(search)))
	case len(want) == 0:
	case search.good() && i >= 0:
		a.note(Permissions, comparePermissions(want, want[i:i+1], slices.Delete(slices.Clone(want), i, i+1)))
	default:
		a.note(Permissions, comparePermissions(want, nil, want))
	}
}

// notionAccount reads which integration it is, and whose.
func notionAccount(a *asker, first reply) {
	var who struct {
		Name string `json:"name"`
		Type string `json:"type"`
		Bot  struct {
			Workspace string `json:"workspace_name"`
			Owner     struct {
				User struct {
					Name string `json:"name"`
				} `json:"user"`
			} `json:"owner"`
		} `json:"bot"`
	}
	if !first.decode(&who) {
		return
	}
	kind := who.Type
	if of := cmp.Or(who.Bot.Workspace, who.Bot.Owner.User.Name); of != "" {
		kind += " of " + of
	}
	a.belongs(who.Name, kind)
}

// notionMessage gives what an error says; empty: it is none of Notion's API.
func notionMessage(r reply) string {
	var body struct{ Message string }
	_ = json.Unmarshal(r.body, &body) // what is no JSON says nothing
	return body.Message
}

// explainNotion adds Notion's words.
func explainNotion(a *asker, r reply, v verdict) verdict {
	if r.fault != nil || r.good() {
		return v
	}
	if r.status == http.StatusConflict { // conflict_error: nothing is wrong with the token
		v.unknown = true
		v.detail += "; try again later"
	}
	if l, noted := a.lines[Permissions]; noted {
		a.note(Permissions, l.saying(notionMessage(r)))
		return v
	}
	return v.saying(notionMessage(r))
}
