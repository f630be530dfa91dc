package main

import (
	"context"
	"net"

	"github.com/sallyport/sallyport/internal/provider"
)

// dial reaches a database or an FTP server for checks, by the same guard as requests.
func (a *app) dial(ctx context.Context, p *provider.Provider, to provider.Authority) (net.Conn, error) {
	a.reloading.Lock()
	up := a.upstream
	a.reloading.Unlock()
	return up.Dial(ctx, p, to)
}
