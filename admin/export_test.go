package admin

import (
	"maps"
	"slices"
)

// Resource is a route as a test sees it.
type Resource struct {
	Pattern string
	Open    bool
	Methods []string
}

// Resources gives the routes of the API.
func (s *Server) Resources() []Resource {
	var all []Resource
	for _, r := range s.api() {
		all = append(all, Resource{r.pattern, r.open, slices.Sorted(maps.Keys(r.methods))})
	}
	return all
}
