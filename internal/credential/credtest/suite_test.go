package credtest_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/credential/credtest"
)

func TestMemory(t *testing.T) { credtest.TestStore(t, &credtest.Store{}) }
