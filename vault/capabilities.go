package vault

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/internal/fault"
)

// pathsAtOnce bounds the paths of one question.
const pathsAtOnce = 100

const capabilitiesPath = "sys/capabilities-self"

// Gap is what our token may not do, though it should.
type Gap struct {
	Grant   Grant
	Missing []string // capabilities of the grant, sorted
}

// Missing tells which of grants, in their order, our token does not have in full. Where a path ends with * it asks for
// records and folders below, so that a policy which names those by other patterns counts too.
func (v *Vault) Missing(ctx context.Context, grants []Grant) ([]Gap, error) {
	asked := map[string][]string{}
	for _, g := range grants {
		for _, c := range g.Capabilities {
			for _, p := range g.samples(c) {
				asked[p] = nil
			}
		}
	}
	for paths := range slices.Chunk(slices.Sorted(maps.Keys(asked)), pathsAtOnce) {
		if err := v.capabilities(ctx, paths, asked); err != nil {
			return nil, err
		}
	}
	var gaps []Gap
	for _, g := range grants {
		missing := slices.DeleteFunc(slices.Clone(g.Capabilities), func(c string) bool {
			return !slices.ContainsFunc(g.samples(c), func(p string) bool { return !may(asked[p], c) })
		})
		if len(missing) > 0 {
			gaps = append(gaps, Gap{g, missing})
		}
	}
	return gaps, nil
}

// may reports whether a path's capabilities hold c.
func may(capabilities []string, c string) bool {
	return slices.Contains(capabilities, c) || slices.Contains(capabilities, "root")
}

// samples gives paths that the grant's is meant for: those of records or, for listings, those of the folders above.
func (g *Grant) samples(capability string) []string {
	base, pattern := strings.CutSuffix(g.Path, "*")
	const name = "any/"
	if !pattern || g.depth == 0 {
		return []string{strings.TrimSuffix(strings.ReplaceAll(g.Path+"/", "/+/", "/"+name), "/")}
	}
	if capability != "list" {
		return []string{strings.TrimSuffix(base+strings.Repeat(name, g.depth), "/")}
	}
	var folders []string
	for n := range g.depth {
		folders = append(folders, base+strings.Repeat(name, n))
	}
	return folders
}

// capabilities asks for those of our token at paths, and puts them into found.
func (v *Vault) capabilities(ctx context.Context, paths []string, found map[string][]string) error {
	var out struct {
		Data map[string]any `json:"data"` // a list for each path, and one more under another name if it is only one
	}
	err := v.do(ctx, "capabilities", capabilitiesPath, func(ctx context.Context, c *api.Client) error {
		return write(ctx, c, capabilitiesPath, map[string]any{"paths": paths}, &out)
	})
	if err != nil {
		return err
	}
	for _, p := range paths {
		list, ok := out.Data[p].([]any)
		if !ok {
			return fault.New(fault.Internal, "", errAnswer)
		}
		for _, c := range list {
			if s, ok := c.(string); ok {
				found[p] = append(found[p], s)
			}
		}
	}
	return nil
}
