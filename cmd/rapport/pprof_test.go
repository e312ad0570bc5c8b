package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"rapport/store/storetest"
)

func TestProfilesAreForLoopbackAlone(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:6060", ":6060", "192.0.2.1:6060", "[::]:0", "example.com:1", "6060"} {
		if _, err := openProfiles(address, silent); err == nil || !strings.Contains(err.Error(), "--pprof-listen") {
			t.Errorf("%s: %v", address, err)
		}
	}
	db := storetest.New(t)
	p := serve(t, []string{"--pprof-listen", "127.0.0.1:0"}, "RAPPORT_DATABASE_URL="+db.URL("rapport_server"), "RAPPORT_API_TOKEN="+marker)
	found := regexp.MustCompile(`url=(http://\S+/debug/pprof/)`).FindStringSubmatch(p.output())
	if found == nil {
		t.Fatalf("it doesn't say where:\n%s", p.output())
	}
	if got := fetch(t, found[1], ""); !strings.Contains(got, "goroutine") {
		t.Errorf("the index: %s", got)
	}
	if got := fetch(t, found[1]+"goroutine?debug=1", ""); !strings.Contains(got, "goroutine profile") {
		t.Errorf("goroutines: %s", got)
	}
	if got := fetch(t, found[1]+"cmdline", ""); strings.Contains(got, "serve") {
		t.Errorf("the command line is shown: %s", got)
	}
	if got := fetch(t, p.base+"/debug/pprof/", marker); strings.Contains(got, "profile") {
		t.Errorf("the public address has profiles: %s", got)
	}
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, found[1], nil)
	request.Host = "rebound.example.com"
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("a rebound name: %d", response.StatusCode)
	}
	p.terminate()
}
