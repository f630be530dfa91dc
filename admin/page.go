package admin

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
)

// maxPage is how many items one answer holds at most, and without limit.
const maxPage = 10000

// list is one page of items.
type list[T any] struct {
	Items []T    `json:"items"` // never nil
	Next  string `json:"next"`  // the cursor of the next page; empty: this is the last
}

// page cuts the page that limit and the cursor of the query ask for out of items,
// sorted by key. The cursor is the key of the last item of the page before.
func page[T any](r *http.Request, items []T, key func(T) string) (list[T], error) {
	limit, err := limitOf(r)
	if err != nil {
		return list[T]{}, err
	}
	return pageOf(r, items, key, limit)
}

// pageOf is page with a limit of its own.
func pageOf[T any](r *http.Request, items []T, key func(T) string, limit int) (list[T], error) {
	if cursor := cursorOf(r); cursor != "" {
		i := slices.IndexFunc(items, func(it T) bool { return key(it) == cursor })
		if i < 0 {
			return list[T]{}, invalid("cursor: is not one of an earlier answer, or its item is gone; begin again without")
		}
		items = items[i+1:]
	}
	if len(items) > limit {
		return list[T]{items[:limit], key(items[limit-1])}, nil
	}
	return list[T]{append([]T{}, items...), ""}, nil
}

// cursorOf reads where a page begins; it may go by the name that it had in the
// answer before. Empty: it is the first.
func cursorOf(r *http.Request) string {
	q := r.URL.Query()
	return cmp.Or(q.Get("cursor"), q.Get("next"))
}

func limitOf(r *http.Request) (int, error) {
	s := r.URL.Query().Get("limit")
	if s == "" {
		return maxPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxPage {
		return 0, invalid("limit: is not a number from 1 to " + strconv.Itoa(maxPage))
	}
	return n, nil
}

// flag reads a yes or no of the query; absent is no.
func flag(r *http.Request, name string) (bool, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		return false, invalid(name + ": is neither true nor false")
	}
	return v, nil
}
