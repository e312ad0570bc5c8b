package browser

import (
	"sync"
	"testing"

	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m, closeBrowser) }

// chromium is the one browser of all tests.
var chromium struct {
	sync.Mutex
	browser *Browser
	err     error
}

// open opens a tab of its own for a test, which fails where there is no browser.
func open(t *testing.T, look Look) *reader {
	t.Helper()
	chromium.Lock()
	if chromium.browser == nil && chromium.err == nil {
		chromium.browser, chromium.err = Start()
	}
	browser, err := chromium.browser, chromium.err
	chromium.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	tab, err := browser.Open(look)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tab.Close)
	return &reader{Tab: tab, t: t}
}

func closeBrowser() {
	if chromium.browser != nil {
		chromium.browser.Close()
	}
}
