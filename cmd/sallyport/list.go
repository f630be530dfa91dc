package main

import (
	"context"
	"maps"
	"net/url"
)

// list reads a whole list of the API, page by page.
func list[T any](ctx context.Context, cl *client, path string, query url.Values) ([]T, error) {
	all := []T{} // prints as [], not null
	query = maps.Clone(query)
	for {
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}
		if err := cl.get(ctx, path, query, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" || len(page.Items) == 0 {
			return all, nil
		}
		if query == nil {
			query = url.Values{}
		}
		query.Set("cursor", page.Next)
	}
}
