package auth

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/credential/credtest"
)

func TestSourceServesWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &credtest.Store{}
		c := store.Add("acme/production/crm/main", "bearer", "token", "t1")
		s := NewSource(SourceOptions{Ref: c.Ref, Provider: crm(), Store: store})
		for range 10 {
			if _, err := s.Injector(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if n := store.Gets.Load(); n != 1 {
			t.Errorf("the store was read %d times, want once", n)
		}
		time.Sleep(time.Minute)
		if _, err := s.Injector(context.Background()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := store.Gets.Load(); n != 2 {
			t.Errorf("after the TTL the store was read %d times, want twice", n)
		}
	})
}
