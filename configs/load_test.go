package configs

import (
	"testing"
)

func TestDefaults(t *testing.T) {
	c, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Providers {
		t.Logf("%+v", p)
	}
}
