package auth

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/credential/credtest"
	"github.com/sallyport/sallyport/internal/fault"
)

// readOnly is a store that takes no writes, like Vault with a policy that only reads.
type readOnly struct{ *credtest.Store }

func (readOnly) Put(context.Context, *credential.Credential) error {
	return fault.New(fault.VaultDenied, "", nil)
}

// A token that the store does not keep serves for its life all the same; one that
// is got on demand serves at once.
func TestTokensThatAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &credtest.Store{}
		c := store.Add("acme/production/crm/main", "oauth2_client_credentials", "client_id", "id", "client_secret", "s3cr3t")
		n := 0
		client := &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			n++
			return answered(req, 200, fmt.Sprintf(`{"access_token":"at-%d","expires_in":3600}`, n)), nil
		})}
		k := NewKeeper(KeeperOptions{Store: readOnly{store}})
		s := NewSource(SourceOptions{Ref: c.Ref, Provider: oauthProvider(), Store: k.Over(), Keeper: k, Client: client})
		for range 45 {
			get(t, s)
			time.Sleep(61 * time.Second)
		}
		if n != 1 {
			t.Fatalf("%d tokens in 45 minutes, want one", n)
		}
		before := get(t, s)
		got, err := k.Renew(t.Context(), Demand{Provider: oauthProvider(), Client: client, Record: c})
		if err != nil {
			t.Fatal(err)
		}
		s.Take(got)
		s.Changed()
		after := get(t, s)
		if after == before || sent(t, after) != "Bearer at-2" || n != 2 {
			t.Errorf("after a renewal the source serves %s of %d tokens", sent(t, after), n)
		}
		store.Add("acme/production/crm/main", "oauth2_client_credentials", "client_id", "id", "client_secret", "changed")
		time.Sleep(61 * time.Second)
		get(t, s)
		synctest.Wait()
		if got := sent(t, get(t, s)); got != "Bearer at-3" {
			t.Errorf("after a change of the record the source serves %s", got)
		}
	})
}
