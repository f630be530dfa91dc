package credtest_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/credential/credtest"
)

func TestMemoryApps(t *testing.T) { credtest.TestApps(t, &credtest.Apps{}) }
