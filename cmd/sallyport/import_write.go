package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/internal/credential"
)

// carryOut writes what is missing and what differs by check-and-set. A write
// that has begun is not interrupted.
func (c *cli) carryOut(ctx context.Context, store credential.Store, plan *importPlan) error {
	todo := slices.Concat(plan.missing, plan.different)
	p := c.progress("%d of %d credentials written", len(todo))
	errs, err := forEach(ctx, len(todo), func(i int) error {
		defer p.step()
		return store.Put(context.WithoutCancel(ctx), todo[i])
	})
	p.end()
	var failed failures
	for i, r := range todo {
		if errs[i] == nil {
			plan.written = append(plan.written, r)
			if i >= len(plan.missing) {
				plan.overwritten++
			}
			continue
		}
		plan.left = append(plan.left, r)
		if errs[i] != errNotTried {
			failed.add(r.Ref.String(), errs[i])
		}
	}
	if len(plan.left) == 0 {
		return nil
	}
	if len(failed) == 0 {
		failed.add("the others", err)
	}
	return try(failed.error("%d of %d credentials were not written", len(plan.left), len(todo)),
		"run the same import again: it goes on with what is missing")
}

// tellImported tells what was done; of an import that failed, name by name.
func (c *cli) tellImported(plan *importPlan, failed error) error {
	out := imported{
		Imported: len(plan.written) - plan.overwritten, Overwritten: plan.overwritten, Unchanged: plan.equal,
		Written: names(plan.written), NotWritten: names(plan.left),
	}
	if c.json {
		return c.printJSON(out)
	}
	if failed != nil {
		for _, name := range out.Written {
			fmt.Fprintln(c.stdout, "written", name)
		}
	}
	fmt.Fprintf(c.stdout, "imported %s, %d overwritten, %d unchanged\n", count(out.Imported), out.Overwritten, out.Unchanged)
	return nil
}

// tellDaemon makes a daemon on this state directory look again.
func (c *cli) tellDaemon(ctx context.Context) {
	cl, err := c.daemon()
	if cl == nil && err == nil {
		return
	}
	if err == nil {
		_, err = cl.call(ctx, http.MethodPost, "/api/v1/reload", nil, nil, nil)
		_ = cl.close()
	}
	if err != nil {
		text, _ := explained(err)
		c.warn("the running daemon could not be told to look again, it will after cache_ttl: %s", text)
		return
	}
	c.note("the running daemon looks again")
}
