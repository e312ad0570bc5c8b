// Package browser looks at the server's pages in a headless Chromium, as their
// readers do. The tests of the pages are here.
package browser
